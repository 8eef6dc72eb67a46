// The audit trail of one process: lines appended to <folder>/<name>.jsonl, which gives way to
// <name>.1.jsonl to <name>.3.jsonl as it fills. Survives the end of the process, not of the power.
// Any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "gateway/audit.hpp"
#include "messages/result.hpp"

namespace collm::deploy {

class audit_log final : public gateway::audit_trail {
 public:
  static constexpr std::uint64_t file_bytes_max = 4u << 20;
  static constexpr int older_files = 3;

  /// Makes the folder, for its owner only.
  static result<std::unique_ptr<audit_log>> open(std::filesystem::path folder, std::string name,
                                                 std::uint64_t bytes_max = file_bytes_max);
  ~audit_log() override;

  /// A line that cannot be written is logged as an error, whole.
  void add(const std::string& line) override;
  /// Of all names in the folder, by their time.
  std::vector<std::string> last(std::size_t most) const override;

 private:
  audit_log(std::filesystem::path folder, std::string name, std::uint64_t bytes_max);
  std::filesystem::path file(int age) const;
  result<void> reopen();
  void rotate();

  const std::filesystem::path folder_;
  const std::string name_;
  const std::uint64_t bytes_max_;
  mutable std::mutex mutex_;
  int fd_ = -1;
  std::uint64_t bytes_ = 0;
  bool torn_ = false;  ///< the last line was cut: by a full disk, or a process that was killed
};

}  // namespace collm::deploy
