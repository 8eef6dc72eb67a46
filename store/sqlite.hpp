// The few SQLite calls that store/ makes, with their lifetimes tied to scope. Inside store/ only.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "messages/result.hpp"

namespace collm::store {

struct close_database {
  void operator()(sqlite3* db) const { sqlite3_close(db); }
};
using database = std::unique_ptr<sqlite3, close_database>;

inline error failure_of(sqlite3* db, std::string_view doing) {
  return {errc::io, std::string(doing) + ": " + sqlite3_errmsg(db)};
}

inline result<void> execute(sqlite3* db, const char* sql) {
  if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return failure_of(db, sql);
  return {};
}

/// One prepared statement; binds from 1, steps, reads columns from 0.
class statement {
 public:
  statement(sqlite3* db, std::string sql) : db_(db), sql_(std::move(sql)) {
    prepared_ = sqlite3_prepare_v2(db, sql_.c_str(), -1, &handle_, nullptr) == SQLITE_OK;
  }
  ~statement() { sqlite3_finalize(handle_); }
  statement(statement&& other) noexcept
      : db_(other.db_),
        sql_(std::move(other.sql_)),
        handle_(std::exchange(other.handle_, nullptr)),
        prepared_(std::exchange(other.prepared_, false)) {}
  statement(const statement&) = delete;
  statement& operator=(const statement&) = delete;

  statement& bind(int at, std::int64_t v) {
    if (prepared_) sqlite3_bind_int64(handle_, at, v);
    return *this;
  }
  statement& bind(int at, const std::string& v) {
    if (prepared_) {
      sqlite3_bind_text(handle_, at, v.data(), static_cast<int>(v.size()), SQLITE_TRANSIENT);
    }
    return *this;
  }
  /// True: a row stands; false: done.
  result<bool> step() {
    if (!prepared_) return failure_of(db_, sql_);
    const int code = sqlite3_step(handle_);
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    return failure_of(db_, sql_);
  }
  std::int64_t integer(int at) const { return sqlite3_column_int64(handle_, at); }
  std::string text(int at) const {
    const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(handle_, at));
    return bytes == nullptr ? std::string() : std::string(bytes, sqlite3_column_bytes(handle_, at));
  }

 private:
  sqlite3* db_;
  std::string sql_;  ///< a copy: callers build theirs on the spot
  sqlite3_stmt* handle_ = nullptr;
  bool prepared_ = false;
};

/// Rolls back unless committed.
class transaction {
 public:
  explicit transaction(sqlite3* db) : db_(db), begun_(execute(db, "BEGIN IMMEDIATE")) {}
  ~transaction() {
    if (begun_ && !committed_) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
  }
  transaction(const transaction&) = delete;
  transaction& operator=(const transaction&) = delete;
  const result<void>& begun() const { return begun_; }
  result<void> commit() {
    auto done = execute(db_, "COMMIT");
    committed_ = static_cast<bool>(done);
    return done;
  }

 private:
  sqlite3* db_;
  result<void> begun_;
  bool committed_ = false;
};

}  // namespace collm::store
