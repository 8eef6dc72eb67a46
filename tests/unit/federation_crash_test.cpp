// A head that dies at any of its durable calls, over and over: the round resumes from journal and
// blobs, nothing counts twice, and the same updates give the same bytes. What drives the round here
// is what the aggregator does: decide, append, apply, then what is due.
#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "federation/training_round.hpp"
#include "store/blob_store.hpp"
#include "store/digest.hpp"
#include "store/round_journal.hpp"
#include "store/version_store.hpp"
#include "tests/support/federated_cohort.hpp"
#include "tests/support/power_cut.hpp"
#include "tests/support/store_folder.hpp"

namespace collm {
namespace {

namespace fed = federation;

/// A blob's floats, as an update.
class blob_source final : public fed::update_source {
 public:
  explicit blob_source(store::blob_reader blob) : blob_(std::move(blob)) {}
  std::uint64_t count() const override { return blob_.bytes() / sizeof(float); }
  result<void> read(std::uint64_t at, std::span<float> out) override {
    return blob_.read(at * sizeof(float), std::as_writable_bytes(out));
  }

 private:
  store::blob_reader blob_;
};

using testing_support::power;
using testing_support::powered_disk;
using testing_support::powered_journal;

const fed::strategy rolora;
const std::vector<std::string> clients = {"edge-a/0", "edge-b/0", "edge-c/0"};

fed::round_setup setup() {
  fed::round_setup s;
  s.adapter = "assistant";
  s.round = 1;
  s.trained = fed::trained_in(rolora, 0);
  s.quorum = 2;
  s.deadline_ms = 60000;
  for (const auto& c : clients) s.participants.push_back({c, 6});
  return s;
}

/// One life of a head: opens its stores, replays, and does what is due until it ends or dies.
class head {
 public:
  head(const std::filesystem::path& folder, power& p) : power_(p), disk_(p) {
    blobs_ = std::move(*store::blob_store::open(folder / "blobs", 1 << 20, disk_));
    journal_ = std::make_unique<powered_journal>(
        std::move(*store::open_round_journal(folder / "rounds.db")), p);
    versions_ = std::move(*store::open_version_store(folder / "registry.db"));
  }

  /// False: it died on the way.
  bool live(const std::vector<std::vector<float>>& updates) {
    if (!resume() || !tell(fed::tasks_sent{})) return false;
    for (std::size_t i = 0; i < clients.size(); ++i)
      if (round_.state() <= fed::round_state::uploading && !take(clients[i], updates[i]))
        return false;
    if (!tell(fed::time_passed{})) return false;
    while (!fed::is_final(round_.state()))
      if (!act(round_.due().front())) return false;
    return true;
  }

  fed::training_round round_;
  std::unique_ptr<store::version_store> versions_;

 private:
  bool resume() {
    std::vector<fed::round_record> records;
    const auto lines = journal_->read("assistant", 1);
    for (const auto& line : *lines) records.push_back(*fed::record_of(line));
    if (records.empty()) {
      records.push_back(*fed::training_round::open(setup(), 0));
      if (!journal_->append("assistant", 1, {fed::to_text(records[0])})) return false;
    }
    auto replayed = fed::training_round::replay(records);
    EXPECT_TRUE(replayed) << replayed.failure().message;
    round_ = *replayed;
    return tell(fed::head_returned{});
  }

  bool tell(const fed::round_event& e) {
    auto d = round_.decide(e, 1000);
    std::vector<std::string> lines;
    for (const auto& r : d.records) lines.push_back(fed::to_text(r));
    if (!lines.empty() && !journal_->append("assistant", 1, lines)) return false;
    for (const auto& r : d.records) EXPECT_TRUE(round_.apply(r));
    return true;
  }

  /// A client sends its update, again after every restart, in chunks.
  bool take(const std::string& client, const std::vector<float>& update) {
    const auto bytes = std::as_bytes(std::span(update));
    const auto digest = store::digest_of(bytes);
    auto at = blobs_->begin(digest, bytes.size());
    while (at && *at < bytes.size())
      at = blobs_->append(digest, *at,
                          bytes.subspan(*at).first(std::min<std::size_t>(64, bytes.size() - *at)));
    if (!at || !blobs_->finish(digest)) return false;
    return tell(fed::update_arrived{client, 1, 1, digest, 100, 0, 0.5});
  }

  bool sum() {
    std::vector<std::unique_ptr<blob_source>> sources;
    std::vector<fed::summand> summands;
    const auto shape = fed::small_shape();
    for (const auto& u : round_.accepted()) {
      sources.push_back(std::make_unique<blob_source>(std::move(*blobs_->read(u.digest))));
      summands.push_back({u.digest, u.tokens, u.staleness, shape, sources.back().get()});
    }
    const std::vector<float> parent(shape.count(), 0.25f);
    const auto made =
        fed::aggregate_updates(rolora, shape, setup().trained, parent, std::move(summands));
    EXPECT_TRUE(made);
    const auto digest = blobs_->put(std::as_bytes(std::span(made->factors)));
    return digest && tell(fed::sum_stored{*digest});
  }

  bool act(const fed::round_action& a) {
    const version_id version{"assistant", a.version};
    switch (a.kind) {
      case fed::action_kind::sum:
        return sum();
      case fed::action_kind::register_sum: {
        if (power_.fails()) return false;
        store::version_row row;
        row.id.name = "assistant";
        row.digest = a.digest;
        return tell(fed::version_registered{versions_->add(row)->id.number});
      }
      case fed::action_kind::begin_gate:
        return tell(fed::gate_began{});
      case fed::action_kind::judge:
        return tell(fed::gate_judged{fed::gate_outcome::promote, "better"});
      case fed::action_kind::promote:
        if (power_.fails()) return false;
        EXPECT_TRUE(versions_->promote(version, "better"));
        return tell(fed::version_promoted{});
      default:
        ADD_FAILURE() << "nothing else is due here";
        return false;
    }
  }

  power& power_;
  powered_disk disk_;
  std::unique_ptr<store::blob_store> blobs_;
  std::unique_ptr<store::round_journal> journal_;
};

class a_head_that_dies : public store::store_folder {
 protected:
  std::vector<std::vector<float>> updates() const {
    std::mt19937_64 rng(5);
    std::vector<std::vector<float>> out;
    for (std::size_t i = 0; i < clients.size(); ++i)
      out.push_back(fed::random_floats(rng, fed::small_shape().count(setup().trained), 0.1f));
    return out;
  }
  /// Digest of the sum of a life that nothing disturbs; `calls`: its durable calls.
  std::string undisturbed(int& calls) {
    power p;
    head h(folder_ / "calm", p);
    EXPECT_TRUE(h.live(updates()));
    calls = (1 << 30) - p.left;
    return h.round_.sum_digest();
  }
  void expect_served(head& h, const std::string& digest, int n) {
    EXPECT_EQ(h.round_.state(), fed::round_state::serving) << n;
    EXPECT_EQ(h.round_.sum_digest(), digest) << n;
    EXPECT_EQ(h.round_.accepted().size(), 3u) << n;
    const auto rows = *h.versions_->list();
    ASSERT_EQ(rows.size(), 1u) << n;
    EXPECT_EQ(rows[0].state, store::version_state::serving) << n;
    EXPECT_EQ(rows[0].digest, digest) << n;
  }
};

TEST_F(a_head_that_dies, at_any_call_ends_in_the_same_bytes) {
  int calls = 0;
  const auto digest = undisturbed(calls);
  ASSERT_GT(calls, 25);
  for (int n = 0; n < calls; ++n) {
    const auto folder = folder_ / std::to_string(n);
    power weak{n}, strong;
    EXPECT_FALSE(head(folder, weak).live(updates())) << n;
    head second(folder, strong);
    EXPECT_TRUE(second.live(updates())) << n;
    expect_served(second, digest, n);
  }
}

TEST_F(a_head_that_dies, after_every_few_calls_still_gets_there) {
  int calls = 0;
  const auto digest = undisturbed(calls);
  for (int n = 3; n < 8; ++n) {
    const auto folder = folder_ / ("again" + std::to_string(n));
    bool ended = false;
    for (int life = 0; !ended && life < 60; ++life) {
      power weak{n};
      head h(folder, weak);
      ended = h.live(updates());
      if (ended) expect_served(h, digest, n);
    }
    EXPECT_TRUE(ended) << n;
  }
}

}  // namespace
}  // namespace collm
