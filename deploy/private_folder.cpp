#include "deploy/private_folder.hpp"

#include <sys/stat.h>

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

}  // namespace collm::deploy
