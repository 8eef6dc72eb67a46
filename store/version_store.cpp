#include "store/version_store.hpp"

#include <array>
#include <chrono>

#include "store/database_file.hpp"

namespace collm::store {

namespace {

constexpr std::array releases = {
    "CREATE TABLE versions (name TEXT NOT NULL, number INTEGER NOT NULL, digest TEXT NOT NULL, "
    "parent INTEGER NOT NULL, state INTEGER NOT NULL, rank INTEGER NOT NULL, "
    "bytes INTEGER NOT NULL, source TEXT NOT NULL, created INTEGER NOT NULL, "
    "PRIMARY KEY (name, number), UNIQUE (name, digest));",
    "ALTER TABLE versions ADD COLUMN folder TEXT NOT NULL DEFAULT '';",
    "ALTER TABLE versions ADD COLUMN verdict TEXT NOT NULL DEFAULT '';"
    "CREATE TABLE lineage (name TEXT NOT NULL, number INTEGER NOT NULL, round INTEGER NOT NULL, "
    "strategy TEXT NOT NULL, PRIMARY KEY (name, number));"
    "CREATE TABLE lineage_updates (name TEXT NOT NULL, number INTEGER NOT NULL, "
    "place INTEGER NOT NULL, digest TEXT NOT NULL, node TEXT NOT NULL, tokens INTEGER NOT NULL, "
    "PRIMARY KEY (name, number, place));"};
constexpr database_kind kind{0x434f4c4d, releases};  // "COLM"
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

error cannot_move(const version_id& id, version_state from, version_state to) {
  const bool final = from == version_state::rejected || from == version_state::rolled_back;
  return {errc::conflict, to_string(id) + " is " + std::string(to_string(from)) +
                              (final ? ": that is final; register it anew"
                                     : " and cannot become " + std::string(to_string(to)))};
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

  result<version_row> promote(const version_id& id, const std::string& verdict) override {
    return move(id, version_state::serving, verdict);
  }

  result<version_row> move(const version_id& id, version_state to,
                           const std::string& verdict) override {
    transaction t(db_.get());
    if (!t.begun()) return t.begun().failure();
    auto row = existing(id);
    if (!row || row->state == to) return row;
    if (!may_move(row->state, to)) return cannot_move(id, row->state, to);
    if (to == version_state::serving)
      if (auto s = drain_serving(id.name); !s) return s.failure();
    if (!verdict.empty())
      if (auto s = set_verdict(id, verdict); !s) return s.failure();
    return set_and_commit(t, *row, to);
  }

  result<version_row> rollback(const std::string& name) override {
    transaction t(db_.get());
    if (!t.begun()) return t.begun().failure();
    statement now(db_.get(), select_where("name = ?1 AND state = 2"));
    auto serving = now.bind(1, name).step();
    if (!serving) return serving.failure();
    if (!*serving) return error{errc::not_found, "no version of '" + name + "' is serving"};
    const auto from = row_of(now);
    // Its parent, or, where that never served or was withdrawn, the newest earlier one that did.
    statement before(db_.get(),
                     select_where("name = ?1 AND (number = ?2 OR number < ?3) AND state IN (3, 4) "
                                  "ORDER BY number = ?2 DESC, number DESC LIMIT 1"));
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
    return move(id, version_state::retired, "");
  }

  result<void> set_lineage(const version_id& id, const version_lineage& l) override {
    transaction t(db_.get());
    if (!t.begun()) return t.begun().failure();
    if (auto row = existing(id); !row) return row.failure();
    for (const char* sql : {"DELETE FROM lineage WHERE name = ?1 AND number = ?2",
                            "DELETE FROM lineage_updates WHERE name = ?1 AND number = ?2"}) {
      if (auto done = of(id, sql).step(); !done) return done.failure();
    }
    auto head = of(id, "INSERT INTO lineage VALUES (?1, ?2, ?3, ?4)");
    head.bind(3, std::int64_t{l.round}).bind(4, l.strategy);
    if (auto done = head.step(); !done) return done.failure();
    std::int64_t place = 0;
    for (const auto& u : l.updates) {
      auto row = of(id, "INSERT INTO lineage_updates VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
      row.bind(3, place++).bind(4, u.digest).bind(5, u.node).bind(6, u.tokens);
      if (auto done = row.step(); !done) return done.failure();
    }
    return t.commit();
  }

  result<std::optional<version_lineage>> lineage(const version_id& id) override {
    auto head = of(id, "SELECT round, strategy FROM lineage WHERE name = ?1 AND number = ?2");
    auto found = head.step();
    if (!found) return found.failure();
    if (!*found) return std::optional<version_lineage>();
    version_lineage l{static_cast<std::uint32_t>(head.integer(0)), head.text(1), {}};
    auto rows = of(id,
                   "SELECT digest, node, tokens FROM lineage_updates WHERE name = ?1 AND "
                   "number = ?2 ORDER BY place");
    for (;;) {
      auto more = rows.step();
      if (!more) return more.failure();
      if (!*more) return std::optional(std::move(l));
      l.updates.push_back({rows.text(0), rows.text(1), rows.integer(2)});
    }
  }

  result<std::string> verdict(const version_id& id) override {
    auto s = of(id, "SELECT verdict FROM versions WHERE name = ?1 AND number = ?2");
    auto found = s.step();
    if (!found) return found.failure();
    if (!*found) return not_known(id);
    return s.text(0);
  }

 private:
  static std::string select_where(const char* condition) {
    return std::string("SELECT ") + columns + " FROM versions WHERE " + condition;
  }
  static std::string insert_row() {
    return std::string("INSERT INTO versions (") + columns +
           ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
  }

  statement of(const version_id& id, const char* sql) {
    statement s(db_.get(), sql);
    s.bind(1, id.name).bind(2, std::int64_t{id.number});
    return s;
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

  result<void> set_verdict(const version_id& id, const std::string& verdict) {
    auto s = of(id, "UPDATE versions SET verdict = ?3 WHERE name = ?1 AND number = ?2");
    if (auto done = s.bind(3, verdict).step(); !done) return done.failure();
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

}  // namespace

std::string_view to_string(version_state s) {
  constexpr std::string_view names[] = {"candidate", "canary",   "serving",    "draining",
                                        "retired",   "rejected", "rolled_back"};
  return names[static_cast<std::size_t>(s)];
}

bool may_move(version_state from, version_state to) {
  using enum version_state;
  switch (from) {
    case candidate:
      return to == canary || to == serving || to == rejected || to == retired;
    case canary:
      return to == serving || to == rolled_back;
    case serving:
      return to == draining || to == rolled_back || to == retired;
    case draining:
      return to == retired || to == serving;
    case retired:
      return to == serving;
    case rejected:
    case rolled_back:
      return false;
  }
  return false;
}

result<std::unique_ptr<version_store>> open_version_store(const std::filesystem::path& file) {
  auto db = open_database(file, kind);
  if (!db) return db.failure();
  return std::unique_ptr<version_store>(std::make_unique<sqlite_version_store>(std::move(*db)));
}

}  // namespace collm::store
