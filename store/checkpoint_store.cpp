#include "store/checkpoint_store.hpp"

#include <algorithm>
#include <charconv>

#include "store/digest.hpp"

namespace collm::store {

namespace {

namespace fs = std::filesystem;
constexpr std::string_view suffix = ".checkpoint";
constexpr std::size_t kept = 2, digest_bytes = 64, note_bytes_max = 64 << 10;

std::string digest_of_checkpoint(const checkpoint& c) {
  digest_stream d;
  d.add(std::to_string(c.step) + "\n" + c.note + "\n");
  d.add(c.bytes);
  return d.finish();
}

/// digest, newline, length of the note, newline, note, bytes.
result<checkpoint> read_checkpoint(const fs::path& file, std::uint64_t step) {
  const auto all = read_whole(file);
  if (!all) return all.failure();
  const error damaged{errc::corrupt, file.string() + " is no whole checkpoint"};
  const std::string_view text(reinterpret_cast<const char*>(all->data()), all->size());
  const auto end = text.find('\n', digest_bytes + 1);
  if (text.size() <= digest_bytes || text[digest_bytes] != '\n' || end == std::string_view::npos)
    return damaged;
  std::size_t note = 0;
  const auto* number = text.data() + digest_bytes + 1;
  const auto parsed = std::from_chars(number, text.data() + end, note);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + end || note > text.size() - end - 1)
    return damaged;
  checkpoint c{.step = step, .note = std::string(text.substr(end + 1, note)), .bytes = {}};
  c.bytes.assign(all->begin() + static_cast<std::ptrdiff_t>(end + 1 + note), all->end());
  if (digest_of_checkpoint(c) != text.substr(0, digest_bytes)) return damaged;
  return c;
}

}  // namespace

fs::path checkpoint_store::file_of(const std::string& shadow, std::uint64_t step) const {
  return folder_ / shadow / (std::to_string(step) + std::string(suffix));
}

/// Of the files that stand there, newest first.
result<std::vector<std::uint64_t>> checkpoint_store::steps(const std::string& shadow) const {
  std::vector<std::uint64_t> out;
  const auto files = files_in(folder_ / shadow);
  if (!files && files.failure().code == errc::not_found) return out;
  if (!files) return files.failure();
  for (const auto& f : *files) {
    const auto name = f.path.filename().string();
    std::uint64_t step = 0;
    const auto end =
        name.size() > suffix.size() ? name.data() + name.size() - suffix.size() : name.data();
    const auto parsed = std::from_chars(name.data(), end, step);
    if (name.ends_with(suffix) && parsed.ec == std::errc() && parsed.ptr == end)
      out.push_back(step);
  }
  std::sort(out.rbegin(), out.rend());
  return out;
}

result<void> checkpoint_store::save(const std::string& shadow, const checkpoint& c) {
  if (c.note.size() > note_bytes_max)
    return error{errc::too_large, "a checkpoint's note has at most 64 KiB"};
  if (auto made = make_folder(folder_ / shadow); !made) return made;
  const auto head = digest_of_checkpoint(c) + "\n" + std::to_string(c.note.size()) + "\n" + c.note;
  if (auto written = disk_->replace(file_of(shadow, c.step),
                                    {std::as_bytes(std::span(head)), std::span(c.bytes)});
      !written)
    return written;
  const auto there = steps(shadow);
  if (!there) return there.failure();
  for (std::size_t i = kept; i < there->size(); ++i)
    if (auto gone = remove_file(file_of(shadow, (*there)[i])); !gone) return gone;
  return {};
}

result<found_checkpoint> checkpoint_store::load(const std::string& shadow) const {
  found_checkpoint found;
  const auto there = steps(shadow);
  if (!there) return there.failure();
  for (auto step : *there) {
    auto c = read_checkpoint(file_of(shadow, step), step);
    if (c) {
      found.newest = std::move(*c);
      break;
    }
    if (c.failure().code != errc::corrupt) return c.failure();
    found.damaged.push_back(file_of(shadow, step).string());
  }
  return found;
}

result<void> checkpoint_store::forget(const std::string& shadow) {
  std::error_code failed;
  fs::remove_all(folder_ / shadow, failed);
  if (failed) return error{errc::io, "cannot forget " + shadow + ": " + failed.message()};
  return {};
}

}  // namespace collm::store
