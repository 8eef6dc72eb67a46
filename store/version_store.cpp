#include "store/version_store.hpp"

#include <chrono>

#include "store/sqlite.hpp"

namespace collm::store {

namespace {

constexpr std::int64_t application_id = 0x434f4c4d;  // "COLM": a file of ours
constexpr std::int64_t schema_version = 2;
constexpr const char* columns =
    "name, number, digest, parent, state, rank, bytes, source, created, folder";

version_row row_of(const statement& s) {
  version_row r;
  r.id = {s.text(0), static_cast<std::uint32_t>(s.integer(1))};
  r.digest = s.text(2);
  r.parent = static_cast<std::int32_t>(s.integer(3));
  r.state = static_cast<version_state>(s.integer(4));
  r.rank = static_cast<std::uint32_t>(s.integer(5));
  r.bytes = static_cast<std::uint64_t>(s.integer(6));
  r.source = s.text(7);
  r.created_unix_ms = s.integer(8);
  r.folder = s.text(9);
  return r;
}

std::int64_t now_unix_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

error not_known(const version_id& id) {
  return {errc::not_found, "no version " + to_string(id) + " is registered"};
}

std::string_view name_of(version_state s) {
  constexpr std::string_view names[] = {"candidate", "canary",   "serving",    "draining",
                                        "retired",   "rejected", "rolled_back"};
  return names[static_cast<std::size_t>(s)];
}

class sqlite_version_store final : public version_store {
 public:
  explicit sqlite_version_store(database db) : db_(std::move(db)) {}

  result<version_row> add(const version_row& row) override {
    transaction t(db_.get());
    if (!t.begun()) return t.begun().failure();
    statement known(db_.get(), select_where("name = ?1 AND digest = ?2"));
    auto found = known.bind(1, row.id.name).bind(2, row.digest).step();
    if (!found) return found.failure();
    if (*found) return found_again(t, row_of(known), row.folder);

    statement next(db_.get(), "SELECT coalesce(max(number) + 1, 0) FROM versions WHERE name = ?1");
    if (auto s = next.bind(1, row.id.name).step(); !s) return s.failure();
    version_row added = row;
    added.id.number = static_cast<std::uint32_t>(next.integer(0));
    added.state = version_state::candidate;
    added.created_unix_ms = now_unix_ms();
    statement insert(db_.get(), insert_row());
    insert.bind(1, added.id.name).bind(2, std::int64_t{added.id.number}).bind(3, added.digest);
    insert.bind(4, std::int64_t{added.parent}).bind(5, static_cast<std::int64_t>(added.state));
    insert.bind(6, std::int64_t{added.rank}).bind(7, static_cast<std::int64_t>(added.bytes));
    insert.bind(8, added.source).bind(9, added.created_unix_ms).bind(10, added.folder);
    if (auto s = insert.step(); !s) return s.failure();
    if (auto c = t.commit(); !c) return c.failure();
    return added;
  }

  result<std::vector<version_row>> list() override {
    statement s(db_.get(), select_where("1 ORDER BY name, number"));
    std::vector<version_row> rows;
    for (;;) {
      auto more = s.step();
      if (!more) return more.failure();
      if (!*more) return rows;
      rows.push_back(row_of(s));
    }
  }

  result<std::optional<version_row>> find(const version_id& id) override {
    statement s(db_.get(), select_where("name = ?1 AND number = ?2"));
    auto found = s.bind(1, id.name).bind(2, std::int64_t{id.number}).step();
    if (!found) return found.failure();
    if (!*found) return std::optional<version_row>();
    return std::optional<version_row>(row_of(s));
  }

  result<version_row> promote(const version_id& id) override {
    transaction t(db_.get());
    if (!t.begun()) return t.begun().failure();
    auto row = existing(id);
    if (!row) return row.failure();
    if (row->state == version_state::rejected || row->state == version_state::rolled_back) {
      return error{errc::conflict, to_string(id) + " is " + std::string(name_of(row->state)) +
                                       ": that is final; register it anew"};
    }
    if (row->state == version_state::serving) return row;
    if (auto s = drain_serving(id.name); !s) return s.failure();
    return set_and_commit(t, *row, version_state::serving);
  }

  result<version_row> rollback(const std::string& name) override {
    transaction t(db_.get());
    if (!t.begun()) return t.begun().failure();
    statement now(db_.get(), select_where("name = ?1 AND state = 2"));
    auto serving = now.bind(1, name).step();
    if (!serving) return serving.failure();
    if (!*serving) return error{errc::not_found, "no version of '" + name + "' is serving"};
    const auto from = row_of(now);
    // Its parent, or the newest earlier version that has served, if that was not itself withdrawn.
    statement before(
        db_.get(),
        select_where("name = ?1 AND (number = ?2 OR (?2 < 0 AND number < ?3)) AND state IN "
                     "(3, 4) ORDER BY number DESC LIMIT 1")
            .c_str());
    before.bind(1, name).bind(2, std::int64_t{from.parent}).bind(3, std::int64_t{from.id.number});
    auto found = before.step();
    if (!found) return found.failure();
    if (!*found) {
      return error{errc::conflict, to_string(from.id) + " has no earlier version to go back to"};
    }
    const auto to = row_of(before);
    if (auto s = set_state(from.id, version_state::rolled_back); !s) return s.failure();
    return set_and_commit(t, to, version_state::serving);
  }

  result<version_row> retire(const version_id& id) override {
    transaction t(db_.get());
    if (!t.begun()) return t.begun().failure();
    auto row = existing(id);
    if (!row) return row.failure();
    return set_and_commit(t, *row, version_state::retired);
  }

 private:
  static std::string select_where(const char* condition) {
    return std::string("SELECT ") + columns + " FROM versions WHERE " + condition;
  }
  static std::string insert_row() {
    return std::string("INSERT INTO versions (") + columns +
           ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
  }

  /// The same factors may have moved: the folder named last is where they can be read.
  result<version_row> found_again(transaction& t, version_row row, const std::string& folder) {
    if (folder.empty() || folder == row.folder) return row;
    statement s(db_.get(), "UPDATE versions SET folder = ?3 WHERE name = ?1 AND number = ?2");
    s.bind(1, row.id.name).bind(2, std::int64_t{row.id.number}).bind(3, folder);
    if (auto done = s.step(); !done) return done.failure();
    if (auto c = t.commit(); !c) return c.failure();
    row.folder = folder;
    return row;
  }

  result<version_row> existing(const version_id& id) {
    auto row = find(id);
    if (!row) return row.failure();
    if (!row->has_value()) return not_known(id);
    return **row;
  }

  result<void> set_state(const version_id& id, version_state state) {
    statement s(db_.get(), "UPDATE versions SET state = ?3 WHERE name = ?1 AND number = ?2");
    s.bind(1, id.name).bind(2, std::int64_t{id.number}).bind(3, static_cast<std::int64_t>(state));
    if (auto done = s.step(); !done) return done.failure();
    return {};
  }

  result<void> drain_serving(const std::string& name) {
    statement s(db_.get(), "UPDATE versions SET state = 3 WHERE name = ?1 AND state = 2");
    if (auto done = s.bind(1, name).step(); !done) return done.failure();
    return {};
  }

  result<version_row> set_and_commit(transaction& t, version_row row, version_state state) {
    if (auto s = set_state(row.id, state); !s) return s.failure();
    if (auto c = t.commit(); !c) return c.failure();
    row.state = state;
    return row;
  }

  database db_;
};

result<std::int64_t> pragma(sqlite3* db, const char* sql) {
  statement s(db, sql);
  auto row = s.step();
  if (!row) return row.failure();
  return s.integer(0);
}

// What each release added, in order: a database of an older one is brought up to date.
const std::string first =
    "CREATE TABLE IF NOT EXISTS versions (name TEXT NOT NULL, number INTEGER NOT NULL, "
    "digest TEXT NOT NULL, parent INTEGER NOT NULL, state INTEGER NOT NULL, rank INTEGER NOT NULL, "
    "bytes INTEGER NOT NULL, source TEXT NOT NULL, created INTEGER NOT NULL, "
    "PRIMARY KEY (name, number), UNIQUE (name, digest));";
const std::string second = "ALTER TABLE versions ADD COLUMN folder TEXT NOT NULL DEFAULT '';";
const std::string stamp = "PRAGMA application_id = 1129270349; PRAGMA user_version = 2; COMMIT";

result<void> prepare_schema(sqlite3* db, const std::string& file) {
  for (const char* sql :
       {"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA busy_timeout = 2000"}) {
    if (auto done = execute(db, sql); !done) return done;
  }
  auto id = pragma(db, "PRAGMA application_id");
  if (!id) return id.failure();
  auto tables = pragma(db, "SELECT count(*) FROM sqlite_master");
  if (!tables) return tables.failure();
  if (*tables > 0 && *id != application_id) {
    return error{errc::corrupt, file + " is a database of another program; name another stateDir"};
  }
  auto version = pragma(db, "PRAGMA user_version");
  if (!version) return version.failure();
  if (*version > schema_version) {
    return error{errc::conflict, file + " was written by a newer release; use that one"};
  }
  const std::string steps = *version == 1 ? second : first + second;
  return *version == schema_version ? result<void>()
                                    : execute(db, ("BEGIN;" + steps + stamp).c_str());
}

}  // namespace

result<std::unique_ptr<version_store>> open_version_store(const std::filesystem::path& file) {
  std::error_code made;
  if (file.has_parent_path()) std::filesystem::create_directories(file.parent_path(), made);
  if (made)
    return error{errc::io, "cannot make " + file.parent_path().string() + ": " + made.message()};
  sqlite3* raw = nullptr;
  const int code =
      sqlite3_open_v2(file.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  database db(raw);
  if (code != SQLITE_OK) return failure_of(raw, "cannot open " + file.string());
  if (auto ready = prepare_schema(raw, file.string()); !ready) {
    return error{ready.failure().code == errc::io ? errc::corrupt : ready.failure().code,
                 file.string() + ": " + ready.failure().message};
  }
  return std::unique_ptr<version_store>(std::make_unique<sqlite_version_store>(std::move(db)));
}

}  // namespace collm::store
