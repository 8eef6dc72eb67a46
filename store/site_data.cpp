#include "store/site_data.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "store/database_file.hpp"
#include "store/digest.hpp"
#include "store/disk.hpp"

namespace collm::store {

namespace {

namespace fs = std::filesystem;

constexpr std::array releases = {
    "CREATE TABLE rows (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, "
    "part INTEGER NOT NULL, messages TEXT NOT NULL, prompt TEXT NOT NULL, "
    "completion TEXT NOT NULL);"
    "CREATE INDEX rows_of_part ON rows (part, number);"
    "CREATE TABLE sources (path TEXT PRIMARY KEY, read_to INTEGER NOT NULL, "
    "lines INTEGER NOT NULL, head TEXT NOT NULL);"
    "CREATE TABLE requests (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, "
    "messages TEXT NOT NULL, prompt TEXT NOT NULL);"
    "CREATE TABLE shares (text TEXT NOT NULL);",
    "ALTER TABLE requests ADD COLUMN owner TEXT NOT NULL DEFAULT '';"};
constexpr database_kind kind{0x434f4c53, releases};  // "COLS"

constexpr std::uint64_t read_bytes_max = 64 << 20;  // of one file at a time
constexpr std::uint64_t head_bytes = 4096;          // by which a file is known again

/// Where a question falls in [0, 1): the same everywhere and for ever.
double place_of(const site_row& row) {
  const auto digest = digest_of("split\n" + row.messages + "\n" + row.prompt);
  return static_cast<double>(std::stoull(digest.substr(0, 13), nullptr, 16)) * 0x1.0p-52;
}

data_set set_of(const site_row& row, const split_shares& shares) {
  const double place = place_of(row);
  double sum = 0;
  for (std::size_t s = 0; s + 1 < data_sets_count; ++s) {
    sum += shares[s];
    if (place < sum) return static_cast<data_set>(s);
  }
  return data_set::report;
}

std::string text_of(const split_shares& shares) {
  std::string out;
  for (double s : shares) out += std::to_string(s) + " ";
  return out;
}

site_row row_of(const statement& s) {
  return {s.integer(0), s.text(1), s.text(2), s.text(3), s.text(4)};
}

constexpr const char* row_columns = "number, id, messages, prompt, completion";

// None is ever deleted, so the last number is their count: feedback asks each time.
result<std::uint64_t> rows_held(sqlite3* db) {
  statement last(db, "SELECT max(number) FROM rows");
  if (auto done = last.step(); !done) return done.failure();
  return static_cast<std::uint64_t>(last.integer(0));
}

error full(const site_limits& bounds, const std::string& nothing) {
  return {errc::overloaded, "the site's store holds its most rows, " +
                                std::to_string(bounds.rows_max) + "; " + nothing + " was taken in"};
}

struct part_of_file {
  std::string text;  ///< whole lines
  std::uint64_t end = 0;
};

/// The bytes of a file from `from` on. whole_lines: up to the last line break.
result<part_of_file> read_part(const fs::path& file, std::uint64_t from, std::uint64_t size,
                               bool whole_lines) {
  auto source = open_to_read(file);
  if (!source) return source.failure();
  part_of_file part;
  part.text.resize(std::min(size - from, read_bytes_max));
  if (auto read = read_at(*source, file, from, std::as_writable_bytes(std::span(part.text))); !read)
    return read.failure();
  if (whole_lines) {
    const auto end = part.text.rfind('\n');
    if (end == std::string::npos && part.text.size() == read_bytes_max)
      return error{errc::too_large, file.string() + " holds a line of more than 64 MiB"};
    part.text.resize(end == std::string::npos ? 0 : end + 1);
  }
  part.end = from + part.text.size();
  return part;
}

result<std::uint64_t> size_of(const fs::path& file) {
  std::error_code failed;
  const auto size = fs::file_size(file, failed);
  if (failed)
    return error{errc::not_found, "cannot read " + file.string() + ": " + failed.message()};
  return size;
}

result<std::string> head_of(const fs::path& file, std::uint64_t bytes) {
  auto head = read_part(file, 0, std::min(bytes, head_bytes), false);
  if (!head) return head.failure();
  return digest_of(head->text);
}

}  // namespace

std::string_view to_string(data_set s) {
  constexpr std::string_view names[] = {"train", "gate", "canary", "served", "report"};
  return names[static_cast<std::size_t>(s)];
}

result<std::unique_ptr<site_data>> site_data::open(const fs::path& file, const split_shares& shares,
                                                   const site_limits& bounds) {
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  const bool none_negative =
      std::all_of(shares.begin(), shares.end(), [](double s) { return s >= 0; });
  if (!none_negative || std::abs(sum - 1) > 1e-9)
    return error{errc::bad_request, "the shares of the five sets are 0 or more and add up to 1"};
  auto db = open_database(file, kind);
  if (!db) return db.failure();
  std::unique_ptr<site_data> data(new site_data(std::move(*db), shares, bounds));
  if (auto same = data->check_shares(); !same)
    return error{same.failure().code, file.string() + ": " + same.failure().message};
  return data;
}

result<void> site_data::check_shares() {
  statement s(db_.get(), "SELECT text FROM shares");
  auto found = s.step();
  if (!found) return found.failure();
  if (*found && s.text(0) != text_of(shares_))
    return error{errc::conflict, "its sets were split as " + s.text(0) +
                                     ", and a row never changes its set; another file is needed"};
  if (*found) return {};
  statement insert(db_.get(), "INSERT INTO shares VALUES (?1)");
  if (auto done = insert.bind(1, text_of(shares_)).step(); !done) return done.failure();
  return {};
}

result<void> site_data::add_row(const site_row& row, data_set set, import_report& report) {
  statement insert(db_.get(),
                   "INSERT OR IGNORE INTO rows (id, part, messages, prompt, completion) "
                   "VALUES (?1, ?2, ?3, ?4, ?5)");
  insert.bind(1, row.id).bind(2, static_cast<std::int64_t>(set)).bind(3, row.messages);
  if (auto done = insert.bind(4, row.prompt).bind(5, row.completion).step(); !done)
    return done.failure();
  if (sqlite3_changes(db_.get()) == 0) {
    ++report.known;
    return {};
  }
  ++report.added;
  ++report.added_by_set[static_cast<std::size_t>(set)];
  return {};
}

result<void> site_data::import_lines(const std::string& name, std::string_view text,
                                     std::uint64_t first, std::optional<data_set> set,
                                     import_report& report) {
  const auto held = rows_held(db_.get());
  if (!held) return held.failure();
  const auto before = *held - report.added;
  const auto note = [&](std::uint64_t line, const std::string& reason) {
    ++report.bad;
    if (report.first_bad.size() < bad_lines_told) report.first_bad.push_back({name, line, reason});
  };
  for (auto line_number = first; !text.empty(); ++line_number) {
    const auto end = std::min(text.find('\n'), text.size());
    auto line = text.substr(0, end);
    text.remove_prefix(std::min(text.size(), end + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    if (line.size() > bounds_.line_bytes_max) {
      note(line_number, "longer than " + std::to_string(bounds_.line_bytes_max) + " bytes");
      continue;
    }
    const auto row = row_of_line(line);
    if (!row) {
      note(line_number, row.failure().message);
      continue;
    }
    if (before + report.added >= bounds_.rows_max) return full(bounds_, "nothing of " + name);
    if (auto added = add_row(*row, set.value_or(set_of(*row, shares_)), report); !added)
      return added;
  }
  return {};
}

result<import_report> site_data::import_text(const std::string& name, std::string_view text,
                                             std::optional<data_set> set) {
  import_report report;
  transaction t(db_.get());
  if (!t.begun()) return t.begun().failure();
  if (auto done = import_lines(name, text, 1, set, report); !done) return done.failure();
  if (auto done = t.commit(); !done) return done.failure();
  return report;
}

result<import_report> site_data::import_file(const fs::path& file) {
  const auto size = size_of(file);
  if (!size) return size.failure();
  if (*size > read_bytes_max)
    return error{errc::too_large, file.string() +
                                      " is larger than 64 MiB; split it, or name its "
                                      "folder, which is read in parts"};
  auto whole = read_part(file, 0, *size, false);
  if (!whole) return whole.failure();
  return import_text(file.filename().string(), whole->text);
}

result<import_report> site_data::import_folder(const fs::path& folder) {
  const auto files = files_in(folder);
  if (!files) return files.failure();
  import_report report;
  for (const auto& f : *files) {
    if (f.path.extension() != ".jsonl") continue;
    if (auto done = import_new_part(f.path, report); !done) return done.failure();
  }
  return report;
}

result<void> site_data::import_new_part(const fs::path& file, import_report& report) {
  const auto size = size_of(file);
  if (!size) return size.failure();
  statement known(db_.get(), "SELECT read_to, lines, head FROM sources WHERE path = ?1");
  auto found = known.bind(1, file.string()).step();
  if (!found) return found.failure();
  std::uint64_t from = *found ? static_cast<std::uint64_t>(known.integer(0)) : 0;
  std::uint64_t lines = *found ? static_cast<std::uint64_t>(known.integer(1)) : 0;
  if (from > 0) {
    const bool shrank = *size < from;
    const auto head = shrank ? std::string() : head_of(file, from);
    if (!head) return head.failure();
    if (shrank || *head != known.text(2)) from = lines = 0;
  }
  for (;;) {
    auto part = read_part(file, from, *size, true);
    if (!part) return part.failure();
    if (part->text.empty()) return {};
    const auto head = head_of(file, part->end);
    if (!head) return head.failure();
    transaction t(db_.get());
    if (!t.begun()) return t.begun().failure();
    if (auto done = import_lines(file.filename().string(), part->text, lines + 1, {}, report);
        !done)
      return done;
    lines += static_cast<std::uint64_t>(std::count(part->text.begin(), part->text.end(), '\n'));
    from = part->end;
    statement note(db_.get(), "INSERT OR REPLACE INTO sources VALUES (?1, ?2, ?3, ?4)");
    note.bind(1, file.string()).bind(2, static_cast<std::int64_t>(from));
    if (auto done = note.bind(3, static_cast<std::int64_t>(lines)).bind(4, *head).step(); !done)
      return done.failure();
    if (auto done = t.commit(); !done) return done;
  }
}

result<void> site_data::remember(const std::string& request, const served_question& question) {
  statement insert(db_.get(),
                   "INSERT OR REPLACE INTO requests (id, messages, prompt, owner) "
                   "VALUES (?1, ?2, ?3, ?4)");
  insert.bind(1, request).bind(2, question.messages).bind(3, question.prompt);
  if (auto done = insert.bind(4, question.owner).step(); !done) return done.failure();
  statement forget(db_.get(),
                   "DELETE FROM requests WHERE number <= (SELECT max(number) FROM requests) - ?1");
  forget.bind(1, static_cast<std::int64_t>(bounds_.remembered_max));
  if (auto done = forget.step(); !done) return done.failure();
  return {};
}

result<data_set> site_data::add_feedback(const std::string& request, const std::string& asking,
                                         const std::string& answer) {
  statement find(db_.get(),
                 "SELECT messages, prompt FROM requests WHERE id = ?1 AND (owner = ?2 OR ?2 = '')");
  auto found = find.bind(1, request).bind(2, asking).step();
  if (!found) return found.failure();
  if (!*found)
    return error{errc::not_found, "request " + request + " was not served here, or too long ago"};
  const auto row = row_of_answer({find.text(0), find.text(1)}, answer);
  if (!row) return row.failure();
  const auto held = rows_held(db_.get());
  if (!held) return held.failure();
  if (*held >= bounds_.rows_max) return full(bounds_, "no feedback");
  import_report report;
  const auto set = set_of(*row, shares_);
  if (auto added = add_row(*row, set, report); !added) return added.failure();
  return set;
}

result<std::array<std::uint64_t, data_sets_count>> site_data::counts() {
  std::array<std::uint64_t, data_sets_count> out{};
  statement s(db_.get(), "SELECT part, count(*) FROM rows GROUP BY part");
  for (;;) {
    auto more = s.step();
    if (!more) return more.failure();
    if (!*more) return out;
    const auto set = static_cast<std::size_t>(s.integer(0));
    if (set >= out.size()) return error{errc::corrupt, "the site's store holds a row of no set"};
    out[set] = static_cast<std::uint64_t>(s.integer(1));
  }
}

result<std::vector<site_row>> site_data::rows(data_set set, std::int64_t after,
                                              std::uint32_t count) {
  statement s(db_.get(), std::string("SELECT ") + row_columns +
                             " FROM rows WHERE part = ?1 AND number > ?2 ORDER BY number LIMIT ?3");
  s.bind(1, static_cast<std::int64_t>(set)).bind(2, after).bind(3, std::int64_t{count});
  std::vector<site_row> out;
  for (;;) {
    auto more = s.step();
    if (!more) return more.failure();
    if (!*more) return out;
    out.push_back(row_of(s));
  }
}

result<std::vector<site_row>> site_data::ordered(data_set set, const std::string& key,
                                                 std::uint32_t first, std::uint32_t count) {
  statement ids(db_.get(), "SELECT number, id FROM rows WHERE part = ?1");
  ids.bind(1, static_cast<std::int64_t>(set));
  std::vector<std::pair<std::string, std::int64_t>> places;
  for (;;) {
    auto more = ids.step();
    if (!more) return more.failure();
    if (!*more) break;
    places.emplace_back(digest_of(key + "\n" + ids.text(1)), ids.integer(0));
  }
  std::sort(places.begin(), places.end());
  std::vector<site_row> out;
  const std::size_t end = std::min<std::size_t>(places.size(), std::size_t{first} + count);
  for (std::size_t i = first; i < end; ++i) {
    statement s(db_.get(), std::string("SELECT ") + row_columns + " FROM rows WHERE number = ?1");
    auto found = s.bind(1, places[i].second).step();
    if (!found) return found.failure();
    if (*found) out.push_back(row_of(s));
  }
  return out;
}

}  // namespace collm::store
