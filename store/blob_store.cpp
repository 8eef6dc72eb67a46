#include "store/blob_store.hpp"

#include <algorithm>

#include "store/digest.hpp"

namespace collm::store {

namespace {

namespace fs = std::filesystem;
constexpr std::size_t block = 1 << 20;  // bytes read at once

std::uint64_t size_of(const fs::path& file) {
  std::error_code absent;
  const auto bytes = fs::file_size(file, absent);
  return absent ? 0 : bytes;
}

/// All at once when a store is opened, so that no later blob depends on a folder's own name.
result<void> make_folders(const fs::path& folder) {
  constexpr char hex[] = "0123456789abcdef";
  if (auto made = make_folder(folder / "incoming"); !made) return made;
  for (char digit : std::string_view(hex))
    if (auto made = make_folder(folder / std::string(1, digit)); !made) return made;
  return {};
}

error no_digest(const std::string& text) {
  return {errc::bad_request, "'" + text.substr(0, 80) + "' is no digest: 64 hex digits are"};
}

}  // namespace

result<std::unique_ptr<blob_store>> blob_store::open(const fs::path& folder,
                                                     std::uint64_t bytes_max, disk& on) {
  if (auto made = make_folders(folder); !made) return made.failure();
  std::unique_ptr<blob_store> s(new blob_store(folder, bytes_max, on));
  if (auto counted = s->count(); !counted) return counted.failure();
  return s;
}

result<void> blob_store::count() {
  const auto files = files_below(folder_);
  if (!files) return files.failure();
  used_ = coming_ = 0;
  for (const auto& f : *files)
    (f.path.parent_path().filename() == "incoming" ? coming_ : used_) += f.bytes;
  return {};
}

fs::path blob_store::file_of(const std::string& digest) const {
  return folder_ / digest.substr(0, 1) / digest;
}

fs::path blob_store::incoming_of(const std::string& digest) const {
  return folder_ / "incoming" / digest;
}

result<void> blob_store::room_for(std::uint64_t bytes) const {
  if (bytes <= bytes_max_ && bytes_used() <= bytes_max_ - bytes) return {};
  return error{errc::overloaded, folder_.string() + " is full: " + std::to_string(bytes_used()) +
                                     " of " + std::to_string(bytes_max_) + " bytes, " +
                                     std::to_string(bytes) + " more do not fit"};
}

result<std::string> blob_store::digest_of_file(const fs::path& file) const {
  auto from = open_to_read(file);
  if (!from) return from.failure();
  const auto bytes = size_of(file);
  digest_stream d;
  std::vector<std::byte> part(std::min<std::uint64_t>(block, bytes));
  for (std::uint64_t at = 0; at < bytes; at += part.size()) {
    const std::span<std::byte> now(part.data(), std::min<std::uint64_t>(part.size(), bytes - at));
    if (auto read = read_at(*from, file, at, now); !read) return read.failure();
    d.add(now);
  }
  return d.finish();
}

bool blob_store::has(const std::string& digest) const {
  return is_digest(digest) && fs::exists(file_of(digest));
}

result<std::string> blob_store::put(std::span<const std::byte> bytes) {
  const auto digest = digest_of(bytes);
  const auto file = file_of(digest);
  const auto before = size_of(file);
  if (before > 0 || fs::exists(file)) {
    const auto there = digest_of_file(file);
    if (there && *there == digest) return digest;
  }
  if (auto room = room_for(bytes.size()); !room) return room.failure();
  if (auto written = disk_->replace(file, {bytes}); !written) return written.failure();
  used_ = used_ - before + bytes.size();
  return digest;
}

result<blob_reader> blob_store::read(const std::string& digest) const {
  if (!is_digest(digest)) return no_digest(digest);
  const auto file = file_of(digest);
  const auto there = digest_of_file(file);
  if (!there) return there.failure();
  if (*there != digest)
    return error{errc::corrupt, file.string() + " is damaged: its digest is " + *there};
  auto from = open_to_read(file);
  if (!from) return from.failure();
  return blob_reader(std::move(*from), file, size_of(file));
}

result<std::vector<std::byte>> blob_store::get(const std::string& digest) const {
  auto from = read(digest);
  if (!from) return from.failure();
  std::vector<std::byte> bytes(from->bytes());
  if (auto done = from->read(0, bytes); !done) return done.failure();
  return bytes;
}

result<void> blob_store::remove(const std::string& digest) {
  if (!is_digest(digest)) return no_digest(digest);
  const auto bytes = size_of(file_of(digest));
  if (auto gone = remove_file(file_of(digest)); !gone) return gone;
  used_ -= bytes;
  return {};
}

result<std::uint64_t> blob_store::keep_only(const std::set<std::string>& digests) {
  const auto files = files_below(folder_);
  if (!files) return files.failure();
  const auto before = bytes_used();
  for (const auto& f : *files) {
    const auto name = f.path.filename().string();
    if (digests.contains(name)) continue;
    if (auto gone = remove_file(f.path); !gone) return gone.failure();
    expected_.erase(name);
  }
  if (auto counted = count(); !counted) return counted.failure();
  return before - bytes_used();
}

result<std::uint64_t> blob_store::begin(const std::string& digest, std::uint64_t bytes) {
  if (!is_digest(digest)) return no_digest(digest);
  if (has(digest)) {
    const auto there = digest_of_file(file_of(digest));
    if (there && *there == digest) return bytes;
    if (auto gone = remove(digest); !gone) return gone.failure();  // damaged: it may come again
  }
  const auto here = size_of(incoming_of(digest));
  if (here > bytes) {
    // Its sender counts otherwise than what came before: it starts anew.
    if (auto gone = remove_file(incoming_of(digest)); !gone) return gone.failure();
    coming_ -= here;
    return begin(digest, bytes);
  }
  if (auto room = room_for(bytes - here); !room) return room.failure();
  expected_[digest] = bytes;
  return here;
}

result<std::uint64_t> blob_store::append(const std::string& digest, std::uint64_t at,
                                         std::span<const std::byte> bytes) {
  const auto expected = expected_.find(digest);
  if (expected == expected_.end())
    return error{errc::conflict, "blob " + digest.substr(0, 12) + " was not begun"};
  const auto file = incoming_of(digest);
  const auto here = size_of(file);
  if (at > here) return here;  // a crash took what was not yet durable: its sender goes back
  if (at + bytes.size() > expected->second)
    return error{errc::too_large, "blob " + digest.substr(0, 12) + " was told to have " +
                                      std::to_string(expected->second) + " bytes"};
  if (at + bytes.size() <= here) return here;
  const auto fresh = bytes.subspan(here - at);
  if (auto room = room_for(fresh.size()); !room) return room.failure();
  auto to = disk_->create(file, true);
  if (!to) return to.failure();
  const auto written = disk_->write(*to, file, fresh);
  coming_ += size_of(file) - here;
  if (!written) return written.failure();
  return here + fresh.size();
}

result<void> blob_store::drop_incoming(const std::string& digest) {
  if (!is_digest(digest)) return no_digest(digest);
  const auto bytes = size_of(incoming_of(digest));
  if (bytes > 0)
    if (auto gone = remove_file(incoming_of(digest)); !gone) return gone;
  coming_ -= bytes;
  expected_.erase(digest);
  return {};
}

result<void> blob_store::finish(const std::string& digest) {
  if (!is_digest(digest)) return no_digest(digest);
  if (has(digest)) return {};
  const auto half = incoming_of(digest);
  const auto bytes = size_of(half);
  if (const auto expected = expected_.find(digest);
      expected != expected_.end() && bytes < expected->second)
    return error{errc::conflict,
                 "blob " + digest.substr(0, 12) + " goes on at byte " + std::to_string(bytes)};
  const auto there = digest_of_file(half);
  if (!there) return there.failure();
  if (*there != digest) {
    if (auto gone = remove_file(half); !gone) return gone;
    coming_ -= bytes;
    return error{errc::corrupt, "blob " + digest.substr(0, 12) + " came as other bytes (" +
                                    there->substr(0, 12) + "); it must be sent again"};
  }
  const auto file = file_of(digest);
  auto whole = disk_->create(half, true);
  if (!whole) return whole.failure();
  if (auto done = disk_->sync(*whole, half); !done) return done;
  if (auto done = disk_->rename(half, file); !done) return done;
  coming_ -= bytes;
  used_ += bytes;
  expected_.erase(digest);
  return {};
}

}  // namespace collm::store
