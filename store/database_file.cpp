#include "store/database_file.hpp"

namespace collm::store {

namespace {

result<std::int64_t> pragma(sqlite3* db, const char* sql) {
  statement s(db, sql);
  auto row = s.step();
  if (!row) return row.failure();
  return s.integer(0);
}

result<void> prepare_schema(sqlite3* db, const std::string& file, const database_kind& kind) {
  for (const char* sql :
       {"PRAGMA busy_timeout = 2000", "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"}) {
    if (auto done = execute(db, sql); !done) return done;
  }
  auto id = pragma(db, "PRAGMA application_id");
  if (!id) return id.failure();
  auto tables = pragma(db, "SELECT count(*) FROM sqlite_master");
  if (!tables) return tables.failure();
  if (*tables > 0 && *id != kind.application_id)
    return error{errc::conflict, file + " is a database of another program; name another stateDir"};
  auto version = pragma(db, "PRAGMA user_version");
  if (!version) return version.failure();
  const auto newest = static_cast<std::int64_t>(kind.releases.size());
  if (*version > newest)
    return error{errc::conflict, file + " was written by a newer release; use that one"};
  if (*version == newest) return {};
  std::string sql = "BEGIN;";
  for (auto at = static_cast<std::size_t>(*version); at < kind.releases.size(); ++at)
    sql += kind.releases[at];
  sql += "PRAGMA application_id = " + std::to_string(kind.application_id) +
         "; PRAGMA user_version = " + std::to_string(newest) + "; COMMIT";
  return execute(db, sql.c_str());
}

}  // namespace

result<database> open_database(const std::filesystem::path& file, const database_kind& kind) {
  std::error_code made;
  if (file.has_parent_path()) std::filesystem::create_directories(file.parent_path(), made);
  if (made)
    return error{errc::io, "cannot make " + file.parent_path().string() + ": " + made.message()};
  sqlite3* raw = nullptr;
  const int code =
      sqlite3_open_v2(file.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  database db(raw);
  if (code != SQLITE_OK) return failure_of(raw, "cannot open " + file.string());
  if (auto ready = prepare_schema(raw, file.string(), kind); !ready) {
    return error{ready.failure().code == errc::io ? errc::corrupt : ready.failure().code,
                 file.string() + ": " + ready.failure().message};
  }
  return db;
}

result<database> open_existing(const std::filesystem::path& file, int lock_wait_ms) {
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(file.c_str(), &raw, SQLITE_OPEN_READWRITE, nullptr);
  database db(raw);
  if (code != SQLITE_OK) return failure_of(raw, "cannot open " + file.string());
  sqlite3_busy_timeout(raw, lock_wait_ms);
  return db;
}

result<void> check_database(const std::filesystem::path& file) {
  const auto db = open_existing(file, 2000);
  if (!db) return db.failure();
  statement check(db->get(), "PRAGMA quick_check(1)");
  const auto row = check.step();
  const std::string found = row ? check.text(0) : row.failure().message;
  if (found != "ok") return error{errc::corrupt, file.string() + ": " + found};
  return {};
}

}  // namespace collm::store
