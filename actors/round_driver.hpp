// What the aggregator does: takes what shadows say, does what the round's state asks for, and
// answers operators. A part of the aggregator actor; its thread.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "actors/aggregator.hpp"
#include "actors/round_book.hpp"
#include "actors/round_factors.hpp"
#include "actors/round_messages.hpp"
#include "actors/update_intake.hpp"

namespace collm::actors {

/// Worth trying again in a moment: the disk or a peer failed, not the data.
inline bool passes(const error& e) {
  return e.code == errc::io || e.code == errc::overloaded || e.code == errc::unavailable ||
         e.code == errc::draining;
}

class round_driver {
 public:
  using self_ptr = head_aggregator_actor::stateful_pointer<aggregator_state>;
  using record = msg<schema::VersionRecord>;

  round_driver(self_ptr self, aggregator_deps deps);

  void start();
  void slot();

  // -- shadows
  reply<msg<schema::Work>> work(const msg<schema::ShadowState>& state);
  reply<msg<schema::UploadPlace>> update(const schema::UpdateChunk::Reader& chunk);
  reply<void> scores(const schema::Scores::Reader& scores);
  caf::result<reply<msg<schema::FactorsChunk>>> factors(const schema::FactorsWanted::Reader& r);

  // -- the coordinator and operators
  caf::result<reply<std::uint32_t>> open(const round_plan& plan);
  reply<void> close(const std::string& who);
  reply<msg<schema::RoundList>> list() const;
  caf::result<reply<msg<schema::Explanation>>> explain(const version_id& id);
  caf::result<reply<msg<schema::Replay>>> replay(std::uint32_t round, const std::string& without);

  /// What a process counted of live requests.
  void traffic(const msg<schema::Snapshot>& from);

 private:
  /// A shadow as it told itself last.
  struct seen {
    std::string site;
    std::uint32_t gate_samples = 0, canary_samples = 0, step = 0;
    double heard_ms = 0;
  };

  double now() const { return now_ms(self_) - clock_offset_ms_; }
  void wake();  ///< first thing in all that time acts on
  void event(schema::EventLevel level, const char* kind, const std::string& text);
  void failed(const char* what, const error& why);

  // -- the course of a round
  result<federation::round_decision> tell(const federation::round_event& e);
  bool moved(const federation::round_event& e);  ///< true: a record followed
  void noticed(federation::round_state before);
  void advance();
  bool act(const federation::round_action& a);  ///< true: its event came, look again
  bool sum();
  bool sum_refused(const error& why);
  bool register_sum(const std::string& digest);
  bool registered(const reply<record>& r);
  bool judge();
  bool judged(federation::gate_outcome outcome, const coordinator::gate_verdict& v);
  bool overtaken();
  bool hold_for_operator(const coordinator::gate_verdict& v);
  void open_gate();
  void ask_own_traffic();
  void count(const msg<schema::Snapshot>& from, bool of_head);
  bool begin_canary();
  bool watch_canary(const version_id& id);
  void canary_refused(const std::string& why);
  bool end_canary(bool passed, const std::string& why);
  bool canary_overtaken();
  bool promote();
  bool withdraw();
  /// Asks the registry; `then` with its answer: true where the round moved on. One question of a
  /// round at a time.
  template <class... What>
  void ask_registry(std::function<bool(const reply<record>&)> then, What... what);

  // -- versions
  void refresh(std::function<void(const result<void>&)> then);
  const record* version(std::uint32_t number) const;
  const record* serving() const;
  result<std::uint32_t> opened(const round_plan& plan);
  result<const record*> parent_of(federation::next_round& next, const record& serving);
  result<void> settled();
  void collect(std::size_t rounds);

  // -- answers
  void remember(const schema::ShadowState::Reader& s);
  void told_by(const schema::ShadowState::Reader& s);
  msg<schema::Work> work_for(const schema::ShadowState::Reader& s) const;
  msg<schema::Work> task_of(const federation::training_round& round,
                            const std::string& replica) const;
  bool late_counts(const schema::ShadowState::Reader& s) const;
  msg<schema::Work> late_work(const schema::ShadowState::Reader& s) const;
  msg<schema::Work> held_out_work(const std::string& replica) const;
  result<msg<schema::FactorsChunk>> chunk(std::uint32_t number, std::uint64_t at,
                                          std::uint64_t count);
  result<msg<schema::Explanation>> explanation(const version_id& id) const;
  result<msg<schema::Replay>> replayed(std::uint32_t round, const std::string& without);
  client_lookup clients() const;
  msg<schema::Round> message_of(const federation::training_round& r) const;
  msg<schema::Round> message_of(const round_book::damage& d) const;

  self_ptr self_;
  aggregator_deps deps_;
  round_book book_;
  round_factors factors_;
  update_intake intake_;
  std::map<std::string, seen> shadows_;  ///< by replica, at most 8192
  std::map<std::uint32_t, record> versions_;
  bool versions_known_ = false;
  std::optional<coordinator::gate_course> gate_;     ///< while the round is in the gate
  std::optional<coordinator::canary_watch> canary_;  ///< while it is a canary
  coordinator::traffic_book traffic_;
  std::set<std::string> asked_sites_;  ///< at the head
  double clock_offset_ms_ = 0, awake_ms_ = -1;
  double started_ms_ = 0, held_since_ms_ = -1;
  bool asking_ = false;          ///< the registry, for the round
  std::uint32_t withdrawn_ = 0;  ///< round whose candidate was withdrawn already
  std::string last_failure_;
  std::optional<error> broken_;  ///< the journal cannot be read: nothing is done
};

template <class... What>
void round_driver::ask_registry(std::function<bool(const reply<record>&)> then, What... what) {
  asking_ = true;
  self_->request(deps_.registry, caf::infinite, what...)
      .then(
          [this, then](const reply<record>& r) {
            asking_ = false;
            if (!then(r)) return;  // until the next slot
            refresh([this](const result<void>&) { advance(); });
          },
          [this](const caf::error&) {
            asking_ = false;
            failed("the registry", {errc::unavailable, "it does not answer"});
          });
}

}  // namespace collm::actors
