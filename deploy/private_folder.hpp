// State holds what a site trains on, hashes of keys and the link's keys: its user's alone.
#pragma once

#include <filesystem>
#include <utility>

#include "messages/result.hpp"

namespace collm::deploy {

/// Makes `folder` where it is lacking and closes it to other users; what this process writes from
/// now on is closed to them, too.
result<void> keep_private(const std::filesystem::path& folder);

/// While it lives no other head works with this state: two would write one round's journal.
class state_lock {
 public:
  /// conflict: another one holds it.
  static result<state_lock> take(const std::filesystem::path& folder);
  /// Whether a head holds it now; two who look at once do not see each other.
  static bool is_held(const std::filesystem::path& folder);
  state_lock(state_lock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  state_lock& operator=(state_lock&&) = delete;
  ~state_lock();

 private:
  explicit state_lock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace collm::deploy
