#include "store/round_journal.hpp"

#include <array>

#include "store/database_file.hpp"
#include "store/digest.hpp"

namespace collm::store {

namespace {

constexpr std::array releases = {
    "CREATE TABLE records (adapter TEXT NOT NULL, round INTEGER NOT NULL, place INTEGER NOT NULL, "
    "text TEXT NOT NULL, chain TEXT NOT NULL, PRIMARY KEY (adapter, round, place));"};
constexpr database_kind kind{0x434f4c4a, releases};  // "COLJ"

std::string chained(const std::string& before, const std::string& text) {
  digest_stream d;
  d.add(before);
  d.add(text);
  return d.finish();
}

std::string start_of(const std::string& adapter, std::uint32_t round) {
  return digest_of(adapter + "/" + std::to_string(round));
}

class sqlite_round_journal final : public round_journal {
 public:
  explicit sqlite_round_journal(database db) : db_(std::move(db)) {}

  result<void> append(const std::string& adapter, std::uint32_t round,
                      const std::vector<std::string>& records) override {
    transaction t(db_.get());
    if (!t.begun()) return t.begun().failure();
    statement last(db_.get(),
                   "SELECT place, chain FROM records WHERE adapter = ?1 AND round = ?2 "
                   "ORDER BY place DESC LIMIT 1");
    auto found = last.bind(1, adapter).bind(2, std::int64_t{round}).step();
    if (!found) return found.failure();
    auto place = *found ? last.integer(0) + 1 : 0;
    auto chain = *found ? last.text(1) : start_of(adapter, round);
    for (const auto& text : records) {
      chain = chained(chain, text);
      statement insert(db_.get(), "INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5)");
      insert.bind(1, adapter).bind(2, std::int64_t{round}).bind(3, place++);
      if (auto done = insert.bind(4, text).bind(5, chain).step(); !done) return done.failure();
    }
    return t.commit();
  }

  result<std::vector<std::string>> read(const std::string& adapter, std::uint32_t round) override {
    statement s(db_.get(),
                "SELECT place, text, chain FROM records WHERE adapter = ?1 AND round = ?2 "
                "ORDER BY place");
    s.bind(1, adapter).bind(2, std::int64_t{round});
    std::vector<std::string> out;
    auto chain = start_of(adapter, round);
    for (;;) {
      auto more = s.step();
      if (!more) return more.failure();
      if (!*more) return out;
      const auto text = s.text(1);
      chain = chained(chain, text);
      if (s.integer(0) != static_cast<std::int64_t>(out.size()) || s.text(2) != chain)
        return error{errc::corrupt, "round journal: record " + std::to_string(out.size()) +
                                        " of round " + std::to_string(round) + " of " + adapter +
                                        " is damaged or missing"};
      out.push_back(text);
    }
  }

  result<std::vector<std::uint32_t>> rounds(const std::string& adapter) override {
    statement s(db_.get(), "SELECT DISTINCT round FROM records WHERE adapter = ?1 ORDER BY round");
    s.bind(1, adapter);
    std::vector<std::uint32_t> out;
    for (;;) {
      auto more = s.step();
      if (!more) return more.failure();
      if (!*more) return out;
      out.push_back(static_cast<std::uint32_t>(s.integer(0)));
    }
  }

 private:
  database db_;
};

}  // namespace

result<std::unique_ptr<round_journal>> open_round_journal(const std::filesystem::path& file) {
  auto db = open_database(file, kind);
  if (!db) return db.failure();
  return std::unique_ptr<round_journal>(std::make_unique<sqlite_round_journal>(std::move(*db)));
}

}  // namespace collm::store
