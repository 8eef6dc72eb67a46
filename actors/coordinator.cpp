#include "actors/coordinator.hpp"

#include <algorithm>

#include "actors/replies.hpp"
#include "store/digest.hpp"

namespace collm::actors {

namespace {

using self_ptr = head_coordinator_actor::stateful_pointer<coordinator_state>;
using level = schema::EventLevel;
using store::job_row;
using store::job_state;

constexpr std::uint32_t rounds_asked_max = 10000, voided_max = 5;
constexpr std::ptrdiff_t tenant_jobs_max = 8;  // not over
constexpr std::size_t id_digits = 24, file_name_max = 256;

std::int64_t machine_time() {
  using namespace std::chrono;
  return duration_cast<seconds>(system_clock::now().time_since_epoch()).count();
}

void write_job(schema::Job::Builder b, const job_row& r) {
  b.setId(r.id);
  b.setAdapter(r.adapter);
  b.setState(static_cast<schema::JobState>(r.state));
  b.setRounds(r.rounds);
  b.setDone(r.done);
  b.setPromoted(r.promoted);
  b.setVersion(r.version);
  b.setTokens(r.tokens);
  b.setTrainingFile(r.training_file);
  b.setCreatedUnix(r.created_unix);
  b.setFinishedUnix(r.finished_unix);
  b.setMessage(r.message);
  b.setOwner(r.owner);
  b.setSite(r.site);
}

msg<schema::Job> job_message(const job_row& r) {
  return msg<schema::Job>::build([&](schema::Job::Builder b) { write_job(b, r); });
}

double tokens_of(const schema::Round::Reader& r) {
  double sum = 0;
  for (const auto p : r.getParticipants()) sum += p.getTokens();
  return sum;
}

bool is_final(schema::RoundState s) {
  return s == schema::RoundState::VOIDED || s == schema::RoundState::SERVING ||
         s == schema::RoundState::REJECTED;
}

/// The coordinator's work; owner: its actor.
class round_opener {
 public:
  round_opener(self_ptr self, coordinator_deps deps) : self_(self), deps_(std::move(deps)) {
    if (!deps_.unix_time) deps_.unix_time = machine_time;
    for (const auto& a : deps_.adapters) adapters_.emplace(a.name, learner(a));
  }

  void attach(const std::string& adapter, const head_aggregator_actor& aggregator) {
    const auto at = adapters_.find(adapter);
    if (at == adapters_.end()) return;
    at->second.aggregator = aggregator;
    at->second.opening = false;
  }
  void heard(const schema::ShadowState::Reader& s);
  void round(const schema::Round::Reader& r);
  void slot();

  result<void> has_room(const std::string& owner) const;
  result<msg<schema::Job>> create(const schema::JobRequest::Reader& r);
  result<msg<schema::JobList>> list() const;
  result<msg<schema::Job>> cancel(const std::string& id);

 private:
  struct learner {
    explicit learner(const learning_adapter& a) : policy(a.policy), what(a) {}
    coordinator::round_policy policy;
    learning_adapter what;
    head_aggregator_actor aggregator;
    bool opening = false;
    std::string refused;  ///< why the last round did not open
  };

  void event(level l, const char* kind, const std::string& text) {
    self_->send(deps_.telemetry, event_message(l, deps_.node, kind, text));
  }
  std::optional<job_row> active(const std::string& adapter) const;
  void begin_next_job(const std::string& adapter, const learner& l);
  void open_round(const std::string& adapter, learner& l, bool asked);
  void finish(job_row job, job_state how, const std::string& message);
  void judge(job_row job, const learner& l);
  void save(const job_row& job);
  std::string new_id(const std::string& adapter) const;

  self_ptr self_;
  coordinator_deps deps_;
  std::map<std::string, learner> adapters_;
};

void round_opener::heard(const schema::ShadowState::Reader& s) {
  const auto at = adapters_.find(s.getAdapter().cStr());
  if (at == adapters_.end()) return;
  at->second.policy.heard({s.getReplica().cStr(), s.getTrainSamples(), s.getTokensPerSecond()},
                          now_ms(self_));
}

void round_opener::save(const job_row& job) {
  if (auto kept = deps_.jobs->put(job); !kept)
    event(level::ERROR, "job_store_failed", job.id + ": " + kept.failure().message);
}

/// The job that counts an adapter's rounds.
std::optional<job_row> round_opener::active(const std::string& adapter) const {
  const auto rows = deps_.jobs->list();
  if (!rows) return std::nullopt;
  for (const auto& r : *rows)
    if (r.adapter == adapter && r.state == job_state::running) return r;
  return std::nullopt;
}

void round_opener::round(const schema::Round::Reader& r) {
  const std::string adapter = r.getAdapter().cStr();
  const auto at = adapters_.find(adapter);
  if (at == adapters_.end()) return;
  auto& l = at->second;
  const bool promoted = r.getState() == schema::RoundState::SERVING;
  const bool voided = r.getState() == schema::RoundState::VOIDED;
  l.policy.opened(r.getNumber());
  if (!is_final(r.getState())) return;
  l.policy.ended(r.getNumber(), promoted, voided, now_ms(self_));
  auto job = active(adapter);
  if (!job || r.getNumber() <= job->last_round) return;
  job->last_round = r.getNumber();
  job->done += voided ? 0 : 1;
  job->promoted += promoted ? 1 : 0;
  job->tokens += tokens_of(r);
  if (promoted) job->version = r.getVersion();
  judge(std::move(*job), l);
}

void round_opener::judge(job_row job, const learner& l) {
  if (job.rounds > 0 && job.done >= job.rounds) {
    finish(std::move(job), job_state::succeeded, "");
  } else if (job.rounds == 0 && l.policy.exhausted()) {
    finish(std::move(job), job_state::succeeded, "nothing more was gained");
  } else if (l.policy.voided_in_a_row() >= voided_max) {
    finish(std::move(job), job_state::failed,
           std::to_string(voided_max) + " rounds in a row were void: too few updates came");
  } else {
    save(job);
  }
}

void round_opener::finish(job_row job, job_state how, const std::string& message) {
  job.state = how;
  job.finished_unix = deps_.unix_time();
  job.message = message;
  save(job);
  const char* kind = how == job_state::succeeded ? "job_succeeded"
                     : how == job_state::failed  ? "job_failed"
                                                 : "job_cancelled";
  event(how == job_state::failed ? level::WARNING : level::INFO, kind,
        job.id + " of " + job.adapter + ": " + std::to_string(job.done) + " rounds, " +
            std::to_string(job.promoted) + " promoted" + (message.empty() ? "" : "; " + message));
}

void round_opener::begin_next_job(const std::string& adapter, const learner& l) {
  const auto rows = deps_.jobs->list();
  if (!rows || active(adapter)) return;
  for (auto r : *rows) {
    if (r.adapter != adapter || r.state != job_state::queued) continue;
    r.state = job_state::running;
    r.last_round = l.policy.newest_round();
    return save(r);
  }
}

void round_opener::slot() {
  for (auto& [name, l] : adapters_) {
    if (!l.aggregator || l.opening) continue;
    begin_next_job(name, l);
    const bool asked = active(name).has_value();
    if (asked || l.what.standing) open_round(name, l, asked);
  }
}

void round_opener::open_round(const std::string& adapter, learner& l, bool asked) {
  const auto members = l.policy.next(now_ms(self_), asked);
  if (members.empty()) return;
  round_plan plan;
  for (const auto& m : members) plan.members.push_back({m.client, m.steps});
  l.opening = true;
  self_->request(l.aggregator, caf::infinite, plan)
      .then(
          [this, adapter](const reply<std::uint32_t>& r) {
            auto& mine = adapters_.at(adapter);
            mine.opening = false;
            if (*r) {
              mine.policy.opened(**r);
              mine.refused.clear();
            } else if (mine.refused != r->failure().message) {
              mine.refused = r->failure().message;
              event(level::WARNING, "round_not_opened", adapter + ": " + mine.refused);
            }
          },
          [this, adapter](const caf::error&) {
            auto& mine = adapters_.at(adapter);
            mine.opening = false;
            mine.aggregator = nullptr;  // until it, or the next one, attaches
            event(level::ERROR, "aggregator_lost", adapter + ": its aggregator does not answer");
          });
}

// -- jobs

std::string round_opener::new_id(const std::string& adapter) const {
  const auto rows = deps_.jobs->list();
  std::string seed = adapter + "/" + std::to_string(deps_.unix_time());
  for (std::uint32_t salt = 0;; ++salt) {
    const auto id =
        "ftjob-" + store::digest_of(seed + "/" + std::to_string(salt)).substr(0, id_digits);
    const bool taken =
        rows && std::any_of(rows->begin(), rows->end(), [&](const auto& r) { return r.id == id; });
    if (!taken) return id;
  }
}

/// One tenant does not fill the queue of all.
result<void> round_opener::has_room(const std::string& owner) const {
  if (owner.empty()) return {};
  const auto rows = deps_.jobs->list();
  if (!rows) return rows.failure();
  const auto open = std::count_if(rows->begin(), rows->end(), [&](const job_row& j) {
    return j.owner == owner && !store::is_over(j.state);
  });
  if (open < tenant_jobs_max) return {};
  return error{errc::rate_limited, "tenant " + owner + " has " + std::to_string(open) +
                                     " jobs waiting or running, as many as one may; cancel one "
                                     "or wait"};
}

result<msg<schema::Job>> round_opener::create(const schema::JobRequest::Reader& r) {
  const std::string adapter = r.getAdapter().cStr();
  const auto at = adapters_.find(adapter);
  if (at == adapters_.end()) {
    std::string names;
    for (const auto& [name, l] : adapters_) names += (names.empty() ? "" : ", ") + name;
    return error{errc::not_found, "no adapter '" + adapter + "' learns here; learning: " +
                                      (names.empty() ? "none" : names)};
  }
  if (at->second.what.policy.policy == coordinator::training_policy::inference_only)
    return error{errc::conflict,
                 "policy inference_only trains nothing; coserve_fill in the manifest would"};
  if (r.getRounds() > rounds_asked_max)
    return error{errc::bad_request, "a job has at most " + std::to_string(rounds_asked_max) +
                                        " rounds, not " + std::to_string(r.getRounds())};
  if (r.getTrainingFile().size() > file_name_max)
    return error{errc::bad_request, "the training file's id is too long"};
  if (auto free = has_room(r.getOwner().cStr()); !free) return free.failure();
  job_row job;
  job.id = new_id(adapter);
  job.adapter = adapter;
  job.rounds = r.getRounds();
  job.training_file = r.getTrainingFile().cStr();
  job.owner = r.getOwner().cStr();
  job.site = r.getSite().cStr();
  job.created_unix = deps_.unix_time();
  if (auto kept = deps_.jobs->put(job); !kept) return kept.failure();
  event(level::INFO, "job_created", job.id + " of " + adapter);
  return job_message(job);
}

result<msg<schema::JobList>> round_opener::list() const {
  const auto rows = deps_.jobs->list();
  if (!rows) return rows.failure();
  return msg<schema::JobList>::build([&](schema::JobList::Builder b) {
    auto jobs = b.initJobs(static_cast<std::uint32_t>(rows->size()));
    for (std::uint32_t i = 0; i < rows->size(); ++i) write_job(jobs[i], (*rows)[i]);
  });
}

result<msg<schema::Job>> round_opener::cancel(const std::string& id) {
  const auto rows = deps_.jobs->list();
  if (!rows) return rows.failure();
  for (const auto& r : *rows) {
    if (r.id != id) continue;
    if (r.state == job_state::cancelled) return job_message(r);
    if (is_over(r.state)) return error{errc::conflict, id + " has ended already"};
    finish(r, job_state::cancelled, "cancelled; a round that runs is brought to its end");
    auto cancelled = r;
    cancelled.state = job_state::cancelled;
    cancelled.finished_unix = deps_.unix_time();
    return job_message(cancelled);
  }
  return error{errc::not_found, "there is no job '" + id.substr(0, file_name_max) + "'"};
}

}  // namespace

head_coordinator_actor::behavior_type coordinator_behavior(self_ptr self, coordinator_deps deps) {
  watch(self, deps.counts);
  const auto m = metered(self, deps.counts);
  const auto counts = deps.counts;
  const auto slot = deps.slot;
  auto opener = std::make_shared<round_opener>(self, std::move(deps));
  self->delayed_send(self, slot, slot_atom::value);
  return {
      m([opener](const msg<schema::JobRequest>& request) {
        auto r = guard([&] { return opener->create(*request.read()); });
        return make_reply<msg<schema::Job>>(r ? *r : r.failure());
      }),
      m([opener](list_atom) { return make_reply<msg<schema::JobList>>(opener->list()); }),
      m([opener](cancel_atom, const std::string& id) {
        return make_reply<msg<schema::Job>>(opener->cancel(id));
      }),
      m([counts](status_atom) { return counts->status(); }),
      m([opener](attach_atom, const std::string& adapter, const head_aggregator_actor& a) {
        opener->attach(adapter, a);
      }),
      m([opener](const msg<schema::ShadowState>& s) { opener->heard(*s.read()); }),
      m([opener](const msg<schema::Round>& r) { opener->round(*r.read()); }),
      m([self, opener, slot](slot_atom) {
        opener->slot();
        self->delayed_send(self, slot, slot_atom::value);
      }),
  };
}

}  // namespace collm::actors
