#include "deploy/private_folder.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace collm::deploy {

result<void> keep_private(const std::filesystem::path& folder) {
  ::umask(S_IRWXG | S_IRWXO);
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (!failed) std::filesystem::permissions(folder, std::filesystem::perms::owner_all, failed);
  if (failed)
    return error{errc::io, "cannot make " + folder.string() +
                               " and close it to other users: " + failed.message()};
  return {};
}

result<state_lock> state_lock::take(const std::filesystem::path& folder) {
  state_lock lock(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (lock.fd_ < 0)
    return error{errc::io, "cannot open " + folder.string() + ": " + std::strerror(errno)};
  // The kernel gives it back when its holder dies. A file system without locks has none to refuse.
  if (::flock(lock.fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return error{errc::conflict, "another head works with " + folder.string() +
                                     "; end it (collm down), or name another head.stateDir"};
  return lock;
}

bool state_lock::is_held(const std::filesystem::path& folder) {
  const state_lock look(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return look.fd_ >= 0 && ::flock(look.fd_, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

state_lock::~state_lock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace collm::deploy
