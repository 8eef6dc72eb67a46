#include "store/backup.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "store/database_file.hpp"
#include "store/digest.hpp"

namespace collm::store {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr const char* index_name = "backup.json";
constexpr int index_format = 1;
/// The owner's statements last milliseconds, and wait for ours as long.
constexpr int lock_wait_ms = 5000;

struct kept_file {
  std::string name;  ///< relative to the folder
  std::uint64_t bytes = 0;
  std::string digest;
};

/// Nobody else gets to what lies below it.
result<void> make_private_folder(const fs::path& folder) {
  if (auto made = make_folder(folder); !made) return made;
  std::error_code failed;
  fs::permissions(folder, fs::perms::owner_all, failed);
  if (failed) return error{errc::io, "cannot close " + folder.string() + ": " + failed.message()};
  return {};
}

result<void> refuse_what_is_there(const fs::path& folder) {
  std::error_code failed;
  const bool there = fs::exists(folder, failed) && !fs::is_empty(folder, failed);
  if (failed) return error{errc::io, "cannot look at " + folder.string() + ": " + failed.message()};
  if (there)
    return error{errc::conflict,
                 folder.string() + " is not empty; name another folder, or move it away"};
  return {};
}

/// A backup there would be a part of the next one, and go with the state that it is kept for.
result<void> refuse_inside(const fs::path& state, const fs::path& to) {
  std::error_code failed;
  const auto within = fs::weakly_canonical(fs::absolute(to, failed), failed)
                          .lexically_relative(fs::weakly_canonical(state, failed));
  if (failed) return error{errc::io, "cannot look at " + to.string() + ": " + failed.message()};
  if (within.empty() || *within.begin() == "..") return {};
  return error{errc::bad_request, to.string() + " lies in the state that is to be copied, " +
                                      state.string() + "; name a folder outside of it"};
}

/// Reads `from` to its end, handing each piece to `take`; returns what it was.
template <class Take>
result<kept_file> read_through(const fs::path& from, const std::string& name, Take&& take) {
  auto source = open_to_read(from);
  if (!source) return source.failure();
  std::error_code failed;
  kept_file kept{name, fs::file_size(from, failed), {}};
  if (failed) return error{errc::io, "cannot look at " + from.string() + ": " + failed.message()};
  digest_stream digest;
  std::vector<std::byte> piece(std::size_t{1} << 20);
  for (std::uint64_t at = 0; at < kept.bytes;) {
    const auto part =
        std::span(piece).first(std::min<std::uint64_t>(piece.size(), kept.bytes - at));
    if (auto read = read_at(*source, from, at, part); !read) return read.failure();
    digest.add(part);
    if (auto taken = take(std::span<const std::byte>(part)); !taken) return taken.failure();
    at += part.size();
  }
  kept.digest = digest.finish();
  return kept;
}

result<kept_file> copy(const fs::path& from, const std::string& name, const fs::path& to,
                       disk& on) {
  const fs::path target = to / name;
  if (auto made = make_folder(target.parent_path()); !made) return made.failure();
  auto file = on.create(target, false);
  if (!file) return file.failure();
  auto kept =
      read_through(from / name, name, [&](auto piece) { return on.write(*file, target, piece); });
  if (!kept) return kept;
  if (auto durable = on.sync(*file, target); !durable) return durable.failure();
  return kept;
}

/// Copies what a second connection sees of `from`; the copy needs no files beside it.
result<void> copy_database(const fs::path& from, const fs::path& to, disk& on) {
  auto source = open_existing(from, lock_wait_ms);
  if (!source) return source.failure();
  if (auto owned = on.create(to, false); !owned) return owned.failure();  // with our mode
  const auto target = open_existing(to, lock_wait_ms);
  if (!target) return target.failure();
  sqlite3* const raw = target->get();
  sqlite3_backup* pages = sqlite3_backup_init(raw, "main", source->get(), "main");
  if (pages != nullptr) sqlite3_backup_step(pages, -1);
  if (pages == nullptr || sqlite3_backup_finish(pages) != SQLITE_OK)
    return error{errc::corrupt, from.string() + ": " + sqlite3_errmsg(raw)};
  if (auto alone = execute(raw, "PRAGMA journal_mode = DELETE"); !alone) return alone;
  return check_database(to);
}

/// While all of them are locked against writers, no transaction of the owner lies between two.
result<void> copy_databases(const fs::path& state, const std::vector<std::string>& names,
                            const fs::path& to, disk& on) {
  std::vector<database> open;
  std::vector<std::unique_ptr<transaction>> locks;
  for (const auto& name : names) {
    auto db = open_existing(state / name, lock_wait_ms);
    if (!db) return db.failure();
    open.push_back(std::move(*db));
    locks.push_back(std::make_unique<transaction>(open.back().get()));
    if (!locks.back()->begun())
      return error{errc::unavailable, "cannot lock " + (state / name).string() + ": " +
                                          locks.back()->begun().failure().message};
  }
  for (const auto& name : names)
    if (auto done = copy_database(state / name, to / name, on); !done) return done;
  return {};
}

/// Names of the parts' files that exist, databases left out.
result<std::set<std::string>> loose_files(const fs::path& state, const backup_parts& parts) {
  std::set<std::string> names;
  std::error_code ignored;  // what cannot be looked at fails when it is copied
  for (const auto& file : parts.files)
    if (fs::exists(state / file, ignored)) names.insert(file);
  for (const auto& folder : parts.folders) {
    if (!fs::exists(state / folder, ignored)) continue;
    auto below = files_below(state / folder);
    if (!below) return below.failure();
    for (const auto& file : *below) names.insert(file.path.lexically_relative(state).string());
  }
  return names;
}

result<std::vector<kept_file>> read_index(const fs::path& from) {
  const fs::path file = from / index_name;
  auto source = open_to_read(file);
  if (!source)
    return error{errc::not_found,
                 from.string() + " is no whole backup: it has no " + std::string(index_name)};
  std::string text;
  auto read = read_through(file, index_name, [&](auto piece) -> result<void> {
    text.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    return {};
  });
  if (!read) return read.failure();
  const json index = json::parse(text, nullptr, false);
  std::vector<kept_file> files;
  try {
    if (index.at("format") != index_format)
      return error{errc::conflict, file.string() + " is of another release; use that one"};
    for (const json& row : index.at("files"))
      files.push_back({row.at("name"), row.at("bytes"), row.at("sha256")});
  } catch (const json::exception& e) {
    return error{errc::corrupt, file.string() + ": " + e.what()};
  }
  for (const auto& f : files) {
    const fs::path name(f.name);
    const bool inside = !name.empty() && name.is_relative() &&
                        std::none_of(name.begin(), name.end(), [](auto& p) { return p == ".."; });
    if (!inside) return error{errc::corrupt, file.string() + " names " + f.name};
  }
  return files;
}

result<void> write_index(const fs::path& to, const std::vector<kept_file>& files, disk& on) {
  json rows = json::array();
  for (const auto& f : files)
    rows.push_back({{"name", f.name}, {"bytes", f.bytes}, {"sha256", f.digest}});
  const std::string text = json{{"format", index_format}, {"files", rows}}.dump(1) + "\n";
  return on.replace(to / index_name, {std::as_bytes(std::span(text))});
}

backup_size size_of(const std::vector<kept_file>& files) {
  backup_size s{files.size(), 0};
  for (const auto& f : files) s.bytes += f.bytes;
  return s;
}

result<void> differs(const fs::path& file) {
  return error{errc::corrupt, file.string() + " is not what was backed up"};
}

}  // namespace

result<backup_size> back_up(const fs::path& state, const backup_parts& parts, const fs::path& to,
                            disk& on) {
  if (auto outside = refuse_inside(state, to); !outside) return outside.failure();
  if (auto free = refuse_what_is_there(to); !free) return free.failure();
  std::vector<std::string> databases;
  std::error_code ignored;  // as above
  for (const auto& name : parts.databases)
    if (fs::exists(state / name, ignored)) databases.push_back(name);
  if (databases.empty())
    return error{errc::not_found, state.string() + " holds no state of a head"};
  if (auto made = make_private_folder(to); !made) return made.failure();
  // Before the databases and again after them: what they name at that instant is there before, or
  // comes in between and is still there.
  std::map<std::string, kept_file> files;
  const auto copy_loose = [&]() -> result<void> {
    const auto names = loose_files(state, parts);
    if (!names) return names.failure();
    for (const auto& name : *names) {
      if (files.contains(name)) continue;
      auto kept = copy(state, name, to, on);
      // What retention removed between looking and copying is named by nothing.
      if (!kept && kept.failure().code == errc::not_found) continue;
      if (!kept) return kept.failure();
      files.emplace(name, *kept);
    }
    return {};
  };
  if (auto done = copy_loose(); !done) return done.failure();
  if (auto done = copy_databases(state, databases, to, on); !done) return done.failure();
  if (auto done = copy_loose(); !done) return done.failure();
  std::vector<kept_file> all;
  for (auto& [name, kept] : files) all.push_back(std::move(kept));
  for (const auto& name : databases) {
    auto kept = read_through(to / name, name, [](auto) { return result<void>(); });
    if (!kept) return kept.failure();
    all.push_back(*kept);
  }
  if (auto done = write_index(to, all, on); !done) return done.failure();
  return size_of(all);
}

result<backup_size> check_backup(const fs::path& from) {
  const auto files = read_index(from);
  if (!files) return files.failure();
  for (const auto& f : *files) {
    auto read = read_through(from / f.name, f.name, [](auto) { return result<void>(); });
    if (!read && read.failure().code != errc::not_found) return read.failure();
    if (!read || read->digest != f.digest) return differs(from / f.name).failure();
  }
  return size_of(*files);
}

result<backup_size> restore(const fs::path& from, const fs::path& state, disk& on,
                            const std::set<std::string>& except) {
  if (auto free = refuse_what_is_there(state); !free) return free.failure();
  auto files = read_index(from);
  if (!files) return files.failure();
  std::erase_if(*files, [&](const kept_file& f) { return except.contains(f.name); });
  fs::path fresh = state;
  fresh += ".restoring";
  std::error_code failed;
  fs::remove_all(fresh, failed);  // of a restore that was cut short
  const auto filled = [&]() -> result<void> {
    if (auto made = make_private_folder(fresh); !made) return made;
    for (const auto& f : *files) {
      auto kept = copy(from, f.name, fresh, on);
      if (!kept) return kept.failure();
      if (kept->digest != f.digest) return differs(from / f.name);
    }
    fs::remove(state, failed);  // empty, or not there
    return on.rename(fresh, state);
  }();
  if (filled) return size_of(*files);
  fs::remove_all(fresh, failed);
  return filled.failure();
}

}  // namespace collm::store
