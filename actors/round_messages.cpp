#include "actors/round_messages.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "federation/strategy.hpp"

namespace collm::actors {

namespace {

namespace fed = federation;
constexpr std::string_view round_prefix = "round:";

std::uint32_t milliseconds_of(double ms) {
  return static_cast<std::uint32_t>(std::clamp(ms, 0.0, 4.0e9));
}

void write_participant(schema::Participant::Builder b, const fed::participant& p,
                       const round_view& v) {
  const auto seen = v.clients(p.client);
  b.setClient(p.client);
  b.setSite(seen.site);
  const auto state = v.round.participants().at(p.client);
  b.setState(static_cast<schema::ParticipantState>(state));
  b.setSteps(p.steps);
  // Until it begins, what its shadow tells is of the task before.
  b.setStep(state == fed::participant_state::offered ? 0 : seen.step);
  b.setReason(v.round.reason_of(p.client));
}

void write_update(schema::Participant::Builder b, const fed::accepted_update& u,
                  const round_view& v) {
  b.setClient(u.client);
  b.setSite(v.clients(u.client).site);
  b.setState(schema::ParticipantState::ACCEPTED);
  b.setTokens(static_cast<double>(u.tokens));
  b.setDigest(u.digest);
  if (u.task_round != v.round.setup().round)
    b.setReason("late: of round " + std::to_string(u.task_round));
}

void write_round(schema::Round::Builder b, const round_view& v) {
  const auto& r = v.round;
  const auto& setup = r.setup();
  b.setAdapter(setup.adapter);
  b.setNumber(setup.round);
  b.setState(static_cast<schema::RoundState>(r.state()));
  b.setParent(setup.parent);
  b.setVersion(r.version());
  b.setQuorum(setup.quorum);
  const bool collects = r.state() <= fed::round_state::uploading;
  b.setRemainingMs(collects ? milliseconds_of(r.deadline_at_ms() - v.now_ms) : 0);
  b.setAgeMs(std::max(0.0, v.now_ms - r.opened_at_ms()));
  b.setReason(r.reason());
  b.setAggregate(std::string(to_string(v.how.aggregate)));
  b.setError(static_cast<float>(r.aggregation_error()));
  std::vector<const fed::accepted_update*> late;
  std::map<std::string, const fed::accepted_update*> of_task;
  for (const auto& u : r.accepted()) {
    if (u.task_round == setup.round) {
      of_task[u.client] = &u;
    } else {
      late.push_back(&u);
    }
  }
  const auto asked = static_cast<std::uint32_t>(setup.participants.size());
  auto list = b.initParticipants(asked + static_cast<std::uint32_t>(late.size()));
  for (std::uint32_t i = 0; i < asked; ++i) {
    write_participant(list[i], setup.participants[i], v);
    const auto update = of_task.find(setup.participants[i].client);
    if (update == of_task.end()) continue;
    list[i].setTokens(static_cast<double>(update->second->tokens));
    list[i].setDigest(update->second->digest);
  }
  for (std::uint32_t i = 0; i < late.size(); ++i) write_update(list[asked + i], *late[i], v);
}

std::string number_text(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", v);
  return text;
}

}  // namespace

std::string round_source(std::uint32_t round) {
  return std::string(round_prefix) + std::to_string(round);
}

bool made_by_round(std::string_view source) { return source.starts_with(round_prefix); }

msg<schema::Work> no_work() {
  return msg<schema::Work>::build([](schema::Work::Builder b) { b.setNone(); });
}

msg<schema::Work> train_work(const fed::round_setup& setup, const train_task& task) {
  return msg<schema::Work>::build([&](schema::Work::Builder b) {
    auto t = b.initTrain();
    t.setAdapter(setup.adapter);
    t.setRound(setup.round);
    t.setParent(setup.parent);
    t.setParentDigest(setup.parent_digest);
    t.setTrained(static_cast<schema::TrainedFactors>(setup.trained));
    t.setSteps(task.steps);
    t.setKeepMoments(task.keep_moments);
    t.setProxMu(static_cast<float>(task.prox_mu));
    t.setRemainingMs(milliseconds_of(task.remaining_ms));
    t.setLateCounts(task.late_counts);
  });
}

msg<schema::Work> evaluate_work(const fed::round_setup& setup, const gate_side& candidate,
                                const gate_side& serving, const coordinator::gate_request& r,
                                bool reference) {
  return msg<schema::Work>::build([&](schema::Work::Builder b) {
    auto t = b.initEvaluate();
    t.setAdapter(setup.adapter);
    t.setRound(setup.round);
    t.setCandidate(candidate.number);
    t.setCandidateDigest(candidate.digest);
    t.setServing(serving.number);
    t.setServingDigest(serving.digest);
    t.setFrom(r.from);
    t.setCount(r.count);
    t.setGuardFrom(r.guard_from);
    t.setGuardCount(r.guard_count);
    t.setReference(reference);
  });
}

coordinator::gate_answer answer_of(const schema::Scores::Reader& r) {
  coordinator::gate_answer a;
  a.replica = r.getReplica().cStr();
  a.site = r.getSite().cStr();
  a.from = r.getFrom();
  for (const auto d : r.getDifferences()) a.differences.push_back(d);
  a.read = r.getRead();
  a.guard_from = r.getGuardFrom();
  for (const auto d : r.getGuard()) a.guard.push_back(d);
  a.failure = r.getFailure().cStr();
  return a;
}

coordinator::reference_answer reference_of(const schema::Scores::Reader& r) {
  coordinator::reference_answer a;
  a.replica = r.getReplica().cStr();
  a.site = r.getSite().cStr();
  a.from = r.getFrom();
  for (const auto e : r.getEntropies()) a.entropies.push_back(e);
  for (const auto e : r.getEntropiesBefore()) a.entropies_before.push_back(e);
  a.failure = r.getFailure().cStr();
  return a;
}

std::map<std::string, std::vector<coordinator::version_traffic>> traffic_of(
    const schema::Snapshot::Reader& r, const std::string& adapter) {
  constexpr std::size_t versions_max = 64;
  constexpr double rate_max = 1e6;  // a second: no site has more, whatever it says
  std::map<std::string, std::vector<coordinator::version_traffic>> by_site;
  const auto count = [](double n) {
    return n > 0 && n < 1e15 ? static_cast<std::uint64_t>(n) : std::uint64_t{0};
  };
  const auto finite = [](double n) { return std::isfinite(n) ? n : 0; };
  for (const auto t : r.getTraffic()) {
    if (t.getAdapter() != adapter.c_str()) continue;
    auto& out = by_site[t.getSite()];
    if (out.size() == versions_max) continue;
    out.push_back({.id = {t.getAdapter().cStr(), t.getNumber()},
                   .answers = count(t.getAnswers()),
                   .bad = count(t.getBad()),
                   .not_finite = count(t.getNotFinite()),
                   .requests_per_s = std::clamp(finite(t.getRequestsPerSecond()), 0.0, rate_max),
                   .open = count(t.getOpen()),
                   .late = count(t.getLate())});
  }
  return by_site;
}

msg<schema::Round> round_message(const round_view& v) {
  return msg<schema::Round>::build([&](schema::Round::Builder b) { write_round(b, v); });
}

msg<schema::RoundList> round_list(const std::vector<msg<schema::Round>>& rounds) {
  return msg<schema::RoundList>::build([&](schema::RoundList::Builder b) {
    auto list = b.initRounds(static_cast<std::uint32_t>(rounds.size()));
    for (std::uint32_t i = 0; i < rounds.size(); ++i) list.setWithCaveats(i, *rounds[i].read());
  });
}

msg<schema::Explanation> verdict_message(const coordinator::gate_verdict& v, double margin) {
  return msg<schema::Explanation>::build([&](schema::Explanation::Builder b) {
    b.setVerdict(verdict_line(v));
    b.setLook(v.look);
    b.setCount(v.count);
    b.setMean(v.mean);
    b.setLower(v.lower);
    b.setMargin(margin);
    auto sites = b.initSites(static_cast<std::uint32_t>(v.sites.size()));
    for (std::uint32_t i = 0; i < v.sites.size(); ++i) {
      const auto& s = v.sites[i];
      sites[i].setSite(s.site);
      sites[i].setCount(s.count);
      sites[i].setMean(s.mean);
      sites[i].setBound(s.bound);
      sites[i].setWeak(s.weak);
      sites[i].setVeto(s.veto);
    }
    auto silent = b.initSilent(static_cast<std::uint32_t>(v.silent.size()));
    for (std::uint32_t i = 0; i < v.silent.size(); ++i) silent.set(i, v.silent[i]);
  });
}

msg<schema::Explanation> explanation_message(const msg<schema::VersionRecord>& version,
                                             const round_view* made_by, const std::string& verdict,
                                             const msg<schema::Explanation>& numbers) {
  capnp::MallocMessageBuilder builder;
  if (!numbers.empty()) builder.setRoot(*numbers.read());
  auto b = numbers.empty() ? builder.initRoot<schema::Explanation>()
                           : builder.getRoot<schema::Explanation>();
  b.setVersion(*version.read());
  b.setVerdict(verdict);
  if (made_by != nullptr) {
    b.setRound(made_by->round.setup().round);
    const auto& accepted = made_by->round.accepted();
    auto updates = b.initUpdates(static_cast<std::uint32_t>(accepted.size()));
    for (std::uint32_t i = 0; i < accepted.size(); ++i)
      write_update(updates[i], accepted[i], *made_by);
  }
  return msg<schema::Explanation>::copy_of(b.asReader());
}

std::string verdict_line(const coordinator::gate_verdict& v) {
  std::string out = v.reason;
  if (v.count > 0)
    out += ": " + number_text(v.mean) + " nats a token better, at least " + number_text(v.lower) +
           ", over " + std::to_string(v.count) + " sequences";
  std::string silent;
  for (const auto& s : v.silent) silent += (silent.empty() ? "" : ", ") + s;
  if (!silent.empty()) out += "; silent: " + silent;
  return out;
}

}  // namespace collm::actors
