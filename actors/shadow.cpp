#include "actors/shadow.hpp"

#include <algorithm>
#include <optional>

#include "actors/batch_source.hpp"
#include "actors/replies.hpp"
#include "actors/score_book.hpp"
#include "actors/shadow_checkpoints.hpp"
#include "actors/shadow_messages.hpp"
#include "actors/shadow_task.hpp"
#include "engine/adapter/adapter.hpp"
#include "messages/limits.hpp"
#include "store/digest.hpp"

namespace collm::actors {

namespace {

using self_ptr = shadow_actor::stateful_pointer<shadow_state>;
using engine::adapter_ptr;
using samples = std::vector<engine::training_sample>;

constexpr std::size_t chunk_bytes = limits{}.chunk_bytes_max;
constexpr std::uint32_t steps_between_checkpoints = 16;
constexpr auto answer_within = std::chrono::seconds(10);

/// The head or a neighbour actor is away: what was to be done is done later.
bool passes(errc code) {
  return code == errc::unavailable || code == errc::timeout || code == errc::overloaded;
}

/// One at a time: a chain of requests that ends in finish().
class driver {
 public:
  driver(self_ptr self, shadow_deps deps)
      : self_(self),
        deps_(std::move(deps)),
        batches_(deps_.adapter, deps_.batch_tokens, deps_.encode),
        checkpoints_(deps_.checkpoints, shadow_name(deps_.replica, deps_.adapter)) {
    facts_.client = deps_.replica;
    facts_.adapter = deps_.adapter;
    facts_.base_digest = deps_.base_digest;
  }

  void slot() {
    count_samples();
    if (busy_) grant(true);  // a share that is not renewed decays
    ask();
    self_->delayed_send(self_, deps_.slot, slot_tick_);
  }

  msg<schema::ShadowState> state() const {
    // A task that is done with is no task: only why it was declined is told under its number.
    const bool done = task_.round == finished_round_ && declined_.empty();
    return state_message({.replica = deps_.replica,
                          .site = deps_.site,
                          .adapter = deps_.adapter,
                          .phase = phase_,
                          .samples = counts_,
                          .tokens_per_s = tokens_per_s_,
                          .round = done ? 0 : task_.round,
                          .attempt = task_.attempt,
                          .step = task_.step,
                          .steps = steps_,
                          .loss = loss_,
                          .declined = declined_});
  }

 private:
  // -- what is to be done

  void ask() {
    if (asking_) return;
    asking_ = true;
    self_->request(deps_.aggregator, answer_within, state())
        .then(
            [this](const reply<msg<schema::Work>>& r) {
              asking_ = false;
              if (*r)
                obey(**r);
              else if (!passes((*r).failure().code))
                event(schema::EventLevel::ERROR, "shadow_refused", (*r).failure().message);
            },
            [this](const caf::error&) { asking_ = false; });  // the head is away: asked again
  }

  void obey(const msg<schema::Work>& work) {
    wanted_ = work;
    if (!busy_) begin();
  }

  void begin() {
    if (!wanted_) return;
    const auto w = wanted_->read();
    if (w->isTrain() && w->getTrain().getRound() != finished_round_) {
      busy_ = true;
      grant(true);
      train(w->getTrain());
    } else if (w->isEvaluate()) {
      busy_ = true;
      grant(true);
      evaluate(*wanted_);
    }
  }

  /// The end of every chain. What was wanted may be done by now: asked anew.
  void finish() {
    busy_ = false;
    phase_ = schema::ShadowPhase::IDLE;
    wanted_.reset();
    grant(false);
    ask();
  }

  /// The chain cannot go on now; the next answer of the aggregator starts it again.
  void fail(const char* what, const error& why) {
    if (!passes(why.code)) event(schema::EventLevel::ERROR, what, why.message);
    busy_ = false;
    phase_ = schema::ShadowPhase::IDLE;
    wanted_.reset();
    grant(false);
  }

  void grant(bool on) { self_->send(deps_.engine, grant_atom::value, on ? deps_.share : 0.0, on); }

  // -- training

  void train(const schema::TrainTask::Reader& t) {
    phase_ = schema::ShadowPhase::TRAINING;
    steps_ = t.getSteps();
    declined_.clear();
    const version_id parent{t.getAdapter().cStr(), t.getParent()};
    facts_.parent = parent.number;
    facts_.parent_digest = t.getParentDigest().cStr();
    facts_.trained = factors_of(t.getTrained());
    const bool keep_moments = t.getKeepMoments();
    late_counts_ = t.getLateCounts();
    const auto round = t.getRound();
    if (trainer_ && task_.round == round) return next_step();
    fetch(parent, facts_.parent_digest, [this, round, keep_moments](const adapter_ptr& weights) {
      start_task(round, weights, keep_moments);
    });
  }

  void fetch(const version_id& id, const std::string& digest,
             const std::function<void(const adapter_ptr&)>& then) {
    fetch(id, digest, then, [this, id](const error& why) {
      fail("version_missing", {why.code, collm::to_string(id) + ": " + why.message});
    });
  }

  void fetch(const version_id& id, const std::string& digest,
             const std::function<void(const adapter_ptr&)>& then,
             const std::function<void(const error&)>& refused) {
    self_->request(deps_.node, caf::infinite, fetch_atom::value, id, digest)
        .then(
            [then, refused](const reply<adapter_ptr>& r) {
              if (*r) return then(**r);
              refused((*r).failure());
            },
            [this](const caf::error&) { fail("shadow_failed", away("the node actor")); });
  }

  static error away(const std::string& who) { return {errc::unavailable, who + " is away"}; }

  void start_task(std::uint32_t round, const adapter_ptr& parent, bool keep_moments) {
    if (!trainer_ || !keep_moments) {
      auto made = deps_.make_trainer(parent);
      if (!made) return fail("shadow_failed", made.failure());
      trainer_ = *made;
    }
    if (deps_.alone && !control_) {
      auto made = deps_.make_trainer(parent);
      if (!made) return fail("shadow_failed", made.failure());
      control_ = *made;
    }
    const auto cursor = batches_.cursor();
    const auto attempt = task_.round == round ? task_.attempt + 1 : 1;
    task_ = {.round = round, .attempt = attempt, .step = 0, .tokens = 0, .cursor = cursor};
    const auto found = earlier_checkpoint();
    const auto before = std::make_shared<std::vector<float>>();
    auto resumed = std::make_shared<std::optional<result<void>>>();
    run_job(
        trainer_,
        [=, which = facts_.trained](engine::trainer& t) {
          if (auto done = t.rebase(parent, which); !done) return done;
          *before = values_of(t.factors());
          if (!found) return result<void>();
          const auto noted = task_of_note(found->note);
          if (!noted) return result<void>();
          const auto bytes = std::span(reinterpret_cast<const std::uint8_t*>(found->bytes.data()),
                                       found->bytes.size());
          if (noted->round == round)
            *resumed = t.resume(bytes);
          else if (keep_moments)
            *resumed = t.take_moments(bytes);
          return result<void>();
        },
        [this, before, found, resumed](const engine::unit_report&) {
          parent_values_ = std::move(*before);
          if (found) take_up(*found, *resumed);
          next_step();
        });
  }

  std::optional<store::checkpoint> earlier_checkpoint() {
    auto found = checkpoints_.look_back();
    if (!found) {
      event(schema::EventLevel::ERROR, "checkpoint_failed", found.failure().message);
      return {};
    }
    for (const auto& file : found->damaged)
      event(schema::EventLevel::WARNING, "checkpoint_damaged", file + " was passed over");
    return found->newest;
  }

  /// After a restart: the cursor goes on in any case, the moments as in a life without one, the
  /// task only if it is the same one.
  void take_up(const store::checkpoint& from, const std::optional<result<void>>& resumed) {
    const auto noted = task_of_note(from.note);
    if (!noted)
      return event(schema::EventLevel::WARNING, "checkpoint_damaged", noted.failure().message);
    batches_.seek(noted->cursor);
    task_.cursor = noted->cursor;
    if (!resumed) return;
    if (!*resumed)
      return event(schema::EventLevel::WARNING, "checkpoint_passed_over",
                   resumed->failure().message);
    if (noted->round != task_.round) return;
    task_ = *noted;
    event(schema::EventLevel::INFO, "shadow_resumed",
          "round " + std::to_string(task_.round) + " at step " + std::to_string(task_.step));
  }

  bool still_wanted() const {
    if (!wanted_) return true;  // the head is away: the round may wait for us
    const auto w = wanted_->read();
    return w->isTrain() && w->getTrain().getRound() == task_.round;
  }

  /// Scores are wanted meanwhile; the task goes on after them.
  void pause() {
    busy_ = false;
    phase_ = schema::ShadowPhase::PAUSED;
    begin();
  }

  void next_step() {
    if (!still_wanted() && late_counts_ && wanted_->read()->isEvaluate()) return pause();
    if (!still_wanted()) {
      event(schema::EventLevel::INFO, "task_dropped",
            "round " + std::to_string(task_.round) + " went on without this shadow");
      return finish();
    }
    if (task_.step >= steps_) return end_task();
    if (!batches_.ready()) return read_rows();
    auto batch = std::make_shared<const samples>(batches_.take());
    const double begun = now_ms(self_);
    const auto begin = [batch](engine::trainer& t) { return t.begin_batch(*batch); };
    run_job(trainer_, begin, [this, batch, begun](const engine::unit_report& r) {
      if (!r.batch) return fail("shadow_failed", {errc::bad_request, "a batch ended unreported"});
      ++task_.step;
      task_.tokens += r.batch->tokens;
      task_.cursor = batches_.cursor();
      loss_ = r.batch->loss;
      note_speed(r.batch->tokens, now_ms(self_) - begun);
      train_control(batch, [this] { after_step(); });
    });
  }

  void after_step() {
    if (task_.step % steps_between_checkpoints == 0 || task_.step >= steps_) {
      save([this] { next_step(); });
    } else {
      next_step();
    }
  }

  void note_speed(std::uint32_t tokens, double ms) {
    if (!(ms > 0)) return;
    const double now = 1000.0 * tokens / ms;
    tokens_per_s_ = tokens_per_s_ == 0 ? now : 0.8 * tokens_per_s_ + 0.2 * now;
  }

  void train_control(const std::shared_ptr<const samples>& batch,
                     const std::function<void()>& then) {
    if (!control_) return then();
    run_job(
        control_, [batch](engine::trainer& t) { return t.begin_batch(*batch); },
        [then](const engine::unit_report&) { then(); });
  }

  void read_rows() {
    const auto w = batches_.want();
    self_
        ->request(deps_.data, caf::infinite, list_atom::value, store::data_set::train, w.key,
                  w.first, w.count)
        .then(
            [this](const reply<site_rows>& r) {
              if (!*r) return fail("shadow_failed", (*r).failure());
              if (auto given = batches_.give(***r); !given) return decline(given.failure().message);
              next_step();
            },
            [this](const caf::error&) { fail("shadow_failed", away("the site's store")); });
  }

  void decline(const std::string& why) {
    declined_ = why;
    event(schema::EventLevel::WARNING, "task_declined",
          "round " + std::to_string(task_.round) + ": " + why);
    finished_round_ = task_.round;
    finish();
  }

  void save(const std::function<void()>& then) {
    auto bytes = std::make_shared<std::vector<std::uint8_t>>();
    const auto copy = [bytes](engine::trainer& t) {
      auto made = t.checkpoint();
      if (!made) return result<void>(made.failure());
      *bytes = std::move(*made);
      return result<void>();
    };
    run_job(trainer_, copy, [this, bytes, then](const engine::unit_report&) {
      // Without it a restart only loses this task's steps.
      if (auto saved = checkpoints_.save(to_note(task_), *bytes); !saved)
        event(schema::EventLevel::ERROR, "checkpoint_failed", saved.failure().message);
      then();
    });
  }

  // -- the update

  void end_task() {
    auto change = std::make_shared<std::vector<float>>();
    auto ranks = std::make_shared<std::vector<std::uint32_t>>();
    const auto copy = [change, ranks, this](engine::trainer& t) {
      *change = change_of(t.factors(), parent_values_, facts_.trained);
      if (deps_.own_rank) *ranks = ranks_of(t.factors());
      return result<void>();
    };
    phase_ = schema::ShadowPhase::UPLOADING;
    run_job(trainer_, copy, [this, change, ranks](const engine::unit_report&) {
      update_ = std::move(*change);
      facts_.ranks = *ranks;
      facts_.values = update_.size();
      facts_.digest = store::digest_of(std::as_bytes(std::span(update_)));
      publish_control([this] { upload(0, 0); });
    });
  }

  /// bytes: of the next chunk; 0 asks where to go on.
  void upload(std::uint64_t at, std::size_t bytes) {
    if (!still_wanted()) return next_step();
    const auto all = std::as_bytes(std::span(update_));
    const auto part = all.subspan(at, std::min(bytes, all.size() - at));
    self_->request(deps_.aggregator, answer_within, chunk_message(facts_, task_, at, part))
        .then(
            [this](const reply<msg<schema::UploadPlace>>& r) {
              if (!*r) return upload_refused((*r).failure());
              const auto place = (**r).read();
              if (place->getAccepted()) return update_accepted();
              upload(std::min<std::uint64_t>(place->getNext(), update_.size() * sizeof(float)),
                     chunk_bytes);
            },
            [this](const caf::error&) { fail("upload_failed", away("the head")); });
  }

  void upload_refused(const error& why) {
    if (passes(why.code)) return fail("upload_failed", why);
    event(schema::EventLevel::ERROR, "update_refused",
          "round " + std::to_string(task_.round) + ": " + why.message);
    finished_round_ = task_.round;
    finish();
  }

  void update_accepted() {
    finished_round_ = task_.round;
    finish();
  }

  /// The control under a name of its own, at this node only.
  void publish_control(const std::function<void()>& then) {
    if (!control_) return then();
    auto made = std::make_shared<adapter_ptr>();
    const auto copy = [made](engine::trainer& t) {
      *made = t.snapshot();
      return result<void>();
    };
    run_job(control_, copy, [this, made, then](const engine::unit_report&) {
      const version_id before{deps_.adapter + "-alone", control_number_};
      const version_id id{before.name, ++control_number_};
      self_->request(deps_.engine, caf::infinite, load_atom::value, id, *made)
          .then(
              [this, id, before, weights = *made, then](const reply<void>& r) {
                if (!*r) return fail("control_failed", (*r).failure());
                self_->send(deps_.router,
                            control_record(id, *weights, schema::VersionState::SERVING));
                if (before.number > 0) {
                  self_->send(deps_.router,
                              control_record(before, *weights, schema::VersionState::RETIRED));
                  unload(before);
                }
                then();
              },
              [this](const caf::error&) { fail("control_failed", away("the replica")); });
    });
  }

  void unload(const version_id& id) {
    self_->request(deps_.engine, caf::infinite, unload_atom::value, id)
        .then(
            [this](const reply<void>& r) {
              if (!*r) event(schema::EventLevel::WARNING, "control_failed", (*r).failure().message);
            },
            [](const caf::error&) {});  // a replaced engine holds no control
  }

  // -- evaluation

  void evaluate(const msg<schema::Work>& work) {
    phase_ = schema::ShadowPhase::EVALUATING;
    const auto w = work.read();
    const auto e = w->getEvaluate();
    const version_id candidate{e.getAdapter().cStr(), e.getCandidate()};
    const version_id serving{candidate.name, e.getServing()};
    const std::string serving_digest = e.getServingDigest().cStr();
    const auto refused = [this, work](const error& why) {
      if (passes(why.code)) return fail("version_missing", why);
      send_scores(work, {.failure = why.message});  // news for the gate
    };
    const auto fetched = [this, work, serving, serving_digest](const adapter_ptr& a) {
      fetch(serving, serving_digest,
            [this, work, a](const adapter_ptr& b) { read_held_out(work, a, b); });
    };
    fetch(candidate, e.getCandidateDigest().cStr(), fetched, refused);
  }

  void read_held_out(const msg<schema::Work>& work, const adapter_ptr& candidate,
                     const adapter_ptr& serving) {
    const auto w = work.read();
    const auto e = w->getEvaluate();
    const auto key = collm::to_string(version_id{e.getAdapter().cStr(), e.getCandidate()});
    const auto set = e.getReference() ? store::data_set::canary : store::data_set::gate;
    self_->request(deps_.data, caf::infinite, list_atom::value, set, key, e.getFrom(), e.getCount())
        .then(
            [this, work, candidate, serving](const reply<site_rows>& r) {
              if (!*r) return fail("shadow_failed", (*r).failure());
              score_both(work, **r, candidate, serving);
            },
            [this](const caf::error&) { fail("shadow_failed", away("the site's store")); });
  }

  void score_both(const msg<schema::Work>& work, const site_rows& rows,
                  const adapter_ptr& candidate, const adapter_ptr& serving) {
    const auto w = work.read();
    const auto e = w->getEvaluate();
    auto all = std::make_shared<std::vector<named_sample>>();
    for (const auto& row : *rows) {
      auto sample = deps_.encode(row);
      if (sample) all->push_back({row.id, std::move(*sample)});
    }
    const auto own_count = all->size();
    const auto read = static_cast<std::uint32_t>(rows->size());
    const std::size_t guard_end =
        std::min<std::size_t>(deps_.guard.size(), e.getGuardFrom() + e.getGuardCount());
    for (std::size_t i = e.getGuardFrom(); i < guard_end; ++i)
      all->push_back({"guard " + std::to_string(i), deps_.guard[i]});
    score(candidate, all, [this, work, all, own_count, read, candidate, serving] {
      score(serving, all, [this, work, all, own_count, read, candidate, serving] {
        score_lists lists{.read = read};
        const auto a = scored_.of(candidate->digest, all), b = scored_.of(serving->digest, all);
        if (work.read()->getEvaluate().getReference())
          return send_scores(work, {.entropies = a, .entropies_before = b, .read = read});
        for (std::size_t i = 0; i < a.size(); ++i)
          (i < own_count ? lists.differences : lists.guard).push_back(b[i] - a[i]);
        send_scores(work, lists);
      });
    });
  }

  /// Cross entropies of all samples with one version, into the book.
  void score(const adapter_ptr& version, const named_samples& all,
             const std::function<void()>& then) {
    auto missing =
        std::make_shared<const std::vector<named_sample>>(scored_.missing(version->digest, all));
    if (missing->empty()) return then();
    if (!trainer_) {
      auto made = deps_.make_trainer(version);
      if (!made) return fail("shadow_failed", made.failure());
      trainer_ = *made;
    }
    const auto begin = [missing, version](engine::trainer& t) {
      samples batch;
      for (const auto& s : *missing) batch.push_back(s.sample);
      return t.begin_evaluation(std::move(batch), version);
    };
    run_job(trainer_, begin, [this, version, missing, then](const engine::unit_report& r) {
      if (!r.scores || r.scores->size() != missing->size())
        return fail("shadow_failed", {errc::bad_request, "an evaluation ended unreported"});
      scored_.note(version->digest, *missing, *r.scores);
      then();
    });
  }

  void send_scores(const msg<schema::Work>& work, const score_lists& lists) {
    const auto w = work.read();
    const auto answer = scores_message(w->getEvaluate(), deps_.replica, deps_.site, lists);
    self_->request(deps_.aggregator, answer_within, answer)
        .then(
            [this](const reply<void>& r) {
              if (*r) return finish();
              fail("scores_refused", (*r).failure());
            },
            [this](const caf::error&) { fail("scores_refused", away("the head")); });
  }

  // -- the engine, the store

  void run_job(const std::shared_ptr<engine::trainer>& on,
               std::function<result<void>(engine::trainer&)> begin,
               const std::function<void(const engine::unit_report&)>& then) {
    auto job = std::make_shared<const training_job>(training_job{on, std::move(begin)});
    self_->request(deps_.engine, caf::infinite, train_atom::value, training_job_ptr(job))
        .then(
            [this, then](const reply<engine::unit_report>& r) {
              if (*r) return then(**r);
              lose_trainer((*r).failure());
            },
            [this](const caf::error&) { lose_trainer(away("the engine")); });
  }

  /// Whatever it was in the middle of, the checkpoint is the truth.
  void lose_trainer(const error& why) {
    trainer_.reset();
    checkpoints_.lost();
    const bool again = passes(why.code) || phase_ != schema::ShadowPhase::TRAINING;
    if (!again) return decline(why.message);  // a loss that is no number will be none again
    task_.round = 0;
    fail("shadow_failed", why);
  }

  void count_samples() {
    self_->request(deps_.data, caf::infinite, count_atom::value)
        .then(
            [this](const reply<site_counts>& r) {
              if (*r) counts_ = **r;
            },
            [](const caf::error&) {});  // the store ends with the process
  }

  void event(schema::EventLevel level, const char* kind, const std::string& text) {
    if (kind + text == told_) return;  // the same again and again is told once
    told_ = kind + text;
    self_->send(deps_.telemetry,
                event_message(level, deps_.replica, kind, deps_.adapter + ": " + text));
  }

  self_ptr self_;
  const shadow_deps deps_;
  batch_source batches_;
  shadow_checkpoints checkpoints_;
  slot_atom slot_tick_ = slot_atom::value;
  std::optional<msg<schema::Work>> wanted_;  ///< the aggregator's last word
  bool asking_ = false, busy_ = false;
  schema::ShadowPhase phase_ = schema::ShadowPhase::IDLE;
  std::shared_ptr<engine::trainer> trainer_, control_;  ///< used on the engine's thread only
  std::uint32_t control_number_ = 0;
  shadow_task task_;
  std::uint32_t steps_ = 0, finished_round_ = 0;
  bool late_counts_ = false;  ///< the task's update counts after its round, too
  std::string declined_, told_;
  update_facts facts_;  ///< of the task's update
  std::vector<float> parent_values_, update_;
  site_counts counts_{};
  double loss_ = 0, tokens_per_s_ = 0;
  score_book scored_;
};

}  // namespace

shadow_actor::behavior_type shadow_behavior(self_ptr self, shadow_deps deps) {
  auto counts = deps.counts;
  watch(self, counts);
  auto d = std::make_shared<driver>(self, std::move(deps));
  const auto m = metered(self, counts);
  self->send(self, slot_atom::value);
  return {
      m([d](slot_atom) { d->slot(); }),
      m([d](list_atom) { return d->state(); }),
      m([counts](status_atom) { return counts->status(); }),
  };
}

}  // namespace collm::actors
