#include "store/served_versions.hpp"

#include <string_view>

#include "store/digest.hpp"

namespace collm::store {

namespace {

namespace fs = std::filesystem;
constexpr std::string_view suffix = ".factors";
constexpr std::uint64_t list_bytes_max = 2u << 20;

/// The file's first line: whose versions they are, and what the rest must be.
std::string first_line(const std::string& base_digest, std::span<const std::byte> list) {
  return base_digest + " " + digest_of(list) + "\n";
}

}  // namespace

result<fs::path> served_versions::factors_file(const std::string& digest) const {
  if (!is_digest(digest))
    return error{errc::bad_request,
                 "a version's digest has 64 hex digits, '" + digest.substr(0, 80) + "' is none"};
  return folder_ / (digest + std::string(suffix));
}

bool served_versions::has_factors(const std::string& digest) const {
  const auto file = factors_file(digest);
  std::error_code unreadable;  // written again then, and told if that fails
  return file && fs::exists(*file, unreadable);
}

result<void> served_versions::keep_factors(const std::string& digest,
                                           std::span<const std::byte> bytes) {
  const auto file = factors_file(digest);
  if (!file) return file.failure();
  if (auto made = make_folder(folder_); !made) return made;
  return disk_->replace(*file, {bytes});
}

result<void> served_versions::keep_list(std::span<const std::byte> list) {
  if (auto made = make_folder(folder_); !made) return made;
  const auto line = first_line(base_digest_, list);
  return disk_->replace(list_file(), {std::as_bytes(std::span(line)), list});
}

result<void> served_versions::keep_only(const std::set<std::string>& digests) {
  const auto there = files_in(folder_);
  if (!there) return there.failure();
  for (const auto& f : *there) {
    const bool wanted = f.path == list_file() || digests.contains(f.path.stem().string());
    if (wanted) continue;
    if (auto gone = remove_file(f.path); !gone) return gone;
  }
  return {};
}

result<std::vector<std::byte>> served_versions::list() const {
  auto all = read_whole(list_file(), list_bytes_max);
  if (!all) return all;
  const std::string_view text(reinterpret_cast<const char*>(all->data()), all->size());
  const auto end = text.find('\n');
  const error damaged{errc::corrupt, list_file().string() + " is damaged"};
  if (end == std::string_view::npos) return damaged;
  std::vector<std::byte> list(all->begin() + static_cast<std::ptrdiff_t>(end + 1), all->end());
  if (!text.starts_with(base_digest_ + " "))
    return error{errc::not_found, list_file().string() + " is of another base"};
  if (text.substr(0, end + 1) != first_line(base_digest_, list)) return damaged;
  return list;
}

result<std::vector<std::byte>> served_versions::factors(const std::string& digest) const {
  const auto file = factors_file(digest);
  if (!file) return file.failure();
  return read_whole(*file, factors_bytes_max);
}

}  // namespace collm::store
