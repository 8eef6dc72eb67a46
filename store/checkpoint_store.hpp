// A shadow's checkpoints: the newest two, each with its digest, written whole or not at all. What
// they hold is the trainer's. Owner: the node's thread that reads and writes files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "store/disk.hpp"

namespace collm::store {

struct checkpoint {
  std::uint64_t step = 0;  ///< optimizer steps so far
  std::string note = {};   ///< the shadow's own: round, attempt, data cursor
  std::vector<std::byte> bytes = {};
};

struct found_checkpoint {
  std::optional<checkpoint> newest;  ///< the newest whole one
  std::vector<std::string> damaged;  ///< files that were passed over, by name
};

class checkpoint_store {
 public:
  /// Files: <folder>/<shadow>/<step>.checkpoint; a shadow is named like an adapter.
  explicit checkpoint_store(std::filesystem::path folder, disk& on = real_disk())
      : folder_(std::move(folder)), disk_(&on) {}

  /// Durable when it returns; removes all but the newest two.
  result<void> save(const std::string& shadow, const checkpoint& c);
  result<found_checkpoint> load(const std::string& shadow) const;
  result<void> forget(const std::string& shadow);

 private:
  result<std::vector<std::uint64_t>> steps(const std::string& shadow) const;
  std::filesystem::path file_of(const std::string& shadow, std::uint64_t step) const;
  std::filesystem::path folder_;
  disk* disk_;
};

}  // namespace collm::store
