#include "store/job_store.hpp"

#include <array>
#include <cmath>

#include "store/database_file.hpp"

namespace collm::store {

namespace {

constexpr std::array releases = {
    "CREATE TABLE jobs (place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, "
    "adapter TEXT NOT NULL, state INTEGER NOT NULL, rounds INTEGER NOT NULL, "
    "done INTEGER NOT NULL, promoted INTEGER NOT NULL, version INTEGER NOT NULL, "
    "last_round INTEGER NOT NULL, tokens INTEGER NOT NULL, file TEXT NOT NULL, "
    "created INTEGER NOT NULL, finished INTEGER NOT NULL, message TEXT NOT NULL);",
    "ALTER TABLE jobs ADD COLUMN owner TEXT NOT NULL DEFAULT ''; "
    "ALTER TABLE jobs ADD COLUMN site TEXT NOT NULL DEFAULT '';"};
constexpr database_kind kind{0x434f4c54, releases};  // "COLT"

constexpr const char* upsert =
    "INSERT INTO jobs (id, adapter, state, rounds, done, promoted, version, last_round, tokens, "
    "file, created, finished, message, owner, site) "
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) "
    "ON CONFLICT (id) DO UPDATE SET state = ?3, rounds = ?4, done = ?5, promoted = ?6, "
    "version = ?7, last_round = ?8, tokens = ?9, finished = ?12, message = ?13";

job_row row_of(const statement& s) {
  job_row r;
  r.id = s.text(0);
  r.adapter = s.text(1);
  r.state = static_cast<job_state>(s.integer(2));
  r.rounds = static_cast<std::uint32_t>(s.integer(3));
  r.done = static_cast<std::uint32_t>(s.integer(4));
  r.promoted = static_cast<std::uint32_t>(s.integer(5));
  r.version = static_cast<std::uint32_t>(s.integer(6));
  r.last_round = static_cast<std::uint32_t>(s.integer(7));
  r.tokens = static_cast<double>(s.integer(8));
  r.training_file = s.text(9);
  r.created_unix = s.integer(10);
  r.finished_unix = s.integer(11);
  r.message = s.text(12);
  r.owner = s.text(13);
  r.site = s.text(14);
  return r;
}

class sqlite_job_store final : public job_store {
 public:
  explicit sqlite_job_store(database db) : db_(std::move(db)) {}

  result<void> put(const job_row& row) override {
    transaction t(db_.get());
    if (!t.begun()) return t.begun();
    if (auto room = make_room(row.id); !room) return room;
    statement s(db_.get(), upsert);
    s.bind(1, row.id).bind(2, row.adapter).bind(3, static_cast<std::int64_t>(row.state));
    s.bind(4, std::int64_t{row.rounds}).bind(5, std::int64_t{row.done});
    s.bind(6, std::int64_t{row.promoted}).bind(7, std::int64_t{row.version});
    s.bind(8, std::int64_t{row.last_round}).bind(9, std::int64_t{std::llround(row.tokens)});
    s.bind(10, row.training_file).bind(11, row.created_unix).bind(12, row.finished_unix);
    s.bind(13, row.message).bind(14, row.owner).bind(15, row.site);
    if (auto done = s.step(); !done) return done.failure();
    return t.commit();
  }

  result<std::vector<job_row>> list() override {
    statement s(db_.get(),
                "SELECT id, adapter, state, rounds, done, promoted, version, last_round, tokens, "
                "file, created, finished, message, owner, site FROM jobs ORDER BY place");
    std::vector<job_row> rows;
    for (;;) {
      auto more = s.step();
      if (!more) return more.failure();
      if (!*more) return rows;
      rows.push_back(row_of(s));
    }
  }

 private:
  result<void> make_room(const std::string& id) {
    statement count(db_.get(), "SELECT count(*) FROM jobs WHERE id != ?1");
    if (auto done = count.bind(1, id).step(); !done) return done.failure();
    const auto beyond = count.integer(0) + 1 - static_cast<std::int64_t>(jobs_max);
    if (beyond <= 0) return {};
    statement oldest(db_.get(),
                     "DELETE FROM jobs WHERE place IN (SELECT place FROM jobs WHERE state >= 2 AND "
                     "id != ?1 ORDER BY place LIMIT ?2)");
    if (auto done = oldest.bind(1, id).bind(2, beyond).step(); !done) return done.failure();
    if (sqlite3_changes(db_.get()) >= beyond) return {};
    return error{errc::overloaded,
                 std::to_string(jobs_max) + " jobs wait or run; cancel one or wait"};
  }

  database db_;
};

}  // namespace

result<std::unique_ptr<job_store>> open_job_store(const std::filesystem::path& file) {
  auto db = open_database(file, kind);
  if (!db) return db.failure();
  return std::unique_ptr<job_store>(std::make_unique<sqlite_job_store>(std::move(*db)));
}

}  // namespace collm::store
