#include "tests/simulation/cluster/laws.hpp"

#include <algorithm>

#include "federation/aggregation.hpp"
#include "store/digest.hpp"
#include "tests/simulation/cluster/law_names.hpp"

namespace collm::simulation {

namespace {

using actors::engine_state;
using actors::replica_state;

std::string count(std::size_t n) { return std::to_string(n); }

void check_engine(world& in, const replica_parts& r, const engine_state& e) {
  std::size_t sequences = 0;
  std::map<version_id, std::uint32_t> pinned;
  for (const auto& [sink, run] : e.requests) {
    sequences += run.sequences.size();
    ++pinned[run.version];
  }
  const auto live = r.steps->sequences();
  in.demand(sequences == e.choices.size() && live.size() == sequences, law::blocks, [&] {
    return r.name + " has " + count(live.size()) + " sequences, " + count(e.choices.size()) +
           " choices, and requests that hold " + count(sequences);
  });
  for (const auto& s : live)
    in.demand(e.choices.contains(s.id), law::blocks,
              [&] { return r.name + " computes a sequence that no request holds"; });
  const auto cache = r.steps->cache();
  std::uint32_t used = 0;
  for (const auto& s : live) used += s.blocks;
  in.demand(cache.blocks_free + used == cache.blocks_total, law::blocks, [&] {
    return r.name + ": " + count(used) + " used and " + count(cache.blocks_free) + " free of " +
           count(cache.blocks_total);
  });
  std::map<version_id, std::uint32_t> pins(e.pins.begin(), e.pins.end());
  in.demand(pins == pinned, law::pins, [&] {
    std::string out = r.name + " has pins";
    for (const auto& [id, n] : pins) out += " " + to_string(id) + "=" + count(n);
    out += ", requests of";
    for (const auto& [id, n] : pinned) out += " " + to_string(id) + "=" + count(n);
    return out;
  });
  const auto resident = r.steps->resident();
  for (const auto& [id, n] : pinned)
    in.demand(id.is_base() || std::count(resident.begin(), resident.end(), id) == 1, law::pins,
              [&] { return to_string(id) + " is pinned at " + r.name + " and not in memory"; });
}

void check_replica(world& in, const node_facts& f, const replica_parts& r, const replica_state& s) {
  std::uint32_t choices = 0;
  for (const auto& [id, held] : s.in_engine) choices += held.choices;
  in.demand(choices == s.choices_in_engine, law::credit, [&] {
    return r.name + " counts " + count(s.choices_in_engine) + " choices and gave " + count(choices);
  });
  in.demand(choices <= f.running_max || s.in_engine.size() == 1, law::bounds,
            [&] { return r.name + " has " + count(choices) + " choices in its engine"; });
  in.demand(s.waiting.size() <= f.queued_max, law::bounds, [&] {
    return r.name + " lets " + count(s.waiting.size()) + " requests wait, at most " +
           count(f.queued_max) + " may";
  });
  const auto* e = s.engine && s.engine == r.engine ? state_of<engine_state>(r.engine) : nullptr;
  if (e == nullptr) return;
  for (const auto& [sink, run] : e->requests)
    in.demand(s.in_engine.contains(sink), law::credit, [&] {
      return "request " + count(run.id) + " runs at " + r.name + " without its replica's credit";
    });
}

void check_bridges(world& in, const sim_gateway& g) {
  for (const auto& [id, bridge] : g.bridges()) {
    if (g.accounts().at(id)->how != ending::open) continue;
    const auto* s = state_of<actors::bridge_state>(bridge);
    in.demand(s == nullptr || s->unsent_tokens <= sim_gateway::unsent_tokens_max + 1, law::bounds,
              [&, s] { return "a bridge holds " + count(s->unsent_tokens) + " unsent tokens"; });
  }
}

}  // namespace

void check_meters(world& in, const actors::meter_board& board, const std::string& where,
                  std::uint32_t failing_steps) {
  for (const auto& m : board.all()) {
    const auto allowed = m->name() == "engine" ? failing_steps : 0;
    in.demand(m->unexpected() == 0 && m->failures() <= allowed, law::meters, [&] {
      return m->name() + " " + m->id() + " of " + where + ": " + count(m->unexpected()) +
             " unexpected, " + count(m->failures()) + " failures";
    });
  }
}

void check_node(world& in, const sim_node& node) {
  for (const auto& r : node.replicas) {
    if (const auto* s = state_of<replica_state>(r.desk)) check_replica(in, node.facts, r, *s);
    if (!r.engine) continue;
    const auto* e = state_of<engine_state>(r.engine);
    if (e != nullptr && e->training) check_engine(in, r, *e);
  }
  const auto* n = state_of<actors::node_state>(node.node);
  std::map<std::string, int> serving;
  if (n != nullptr)
    for (const auto& [id, v] : n->versions)
      if (v.state == schema::VersionState::SERVING)
        in.demand(++serving[id.name] == 1, law::one_serves,
                  [&, id = id] { return id.name + " at " + node.facts.name; });
  check_bridges(in, *node.gateway);
  check_meters(in, *node.board, node.facts.name, node.failing_steps);
}

std::optional<law_broken> unaccounted(const sim_gateway& gateway,
                                      const actors::telemetry_actor& telemetry,
                                      const std::string& where) {
  const auto* t = state_of<actors::telemetry_state>(telemetry);
  if (t == nullptr) return law_broken(law::meters, "the telemetry of " + where + " ended");
  const auto told = static_cast<std::size_t>(t->answered + t->refused + t->failed + t->cancelled);
  const auto asked = gateway.accounts().size();
  if (told == asked) return std::nullopt;
  return law_broken(law::once,
                    count(told) + " outcomes for " + count(asked) + " requests at " + where);
}

std::optional<law_broken> unrest_of(const sim_node& node, store::version_store& registered) {
  if (auto open = unaccounted(*node.gateway, node.telemetry, node.facts.name)) return open;
  const auto* n = state_of<actors::node_state>(node.node);
  if (n == nullptr) return law_broken(law::meters, node.facts.name + " ended");
  for (const auto& r : node.replicas) {
    const auto* e = state_of<engine_state>(r.engine);
    if (e == nullptr) return law_broken(law::meters, "the engine of " + r.name + " ended");
    if (!e->pins.empty() || !e->requests.empty())
      return law_broken(law::pins, r.name + " is idle and holds pins");
    for (const auto& id : r.steps->resident())
      if (!n->versions.contains(id))
        return law_broken(law::pins, to_string(id) + " stays in the memory of " + r.name);
  }
  const auto rows = registered.list();
  if (!rows) return law_broken(law::durable, rows.failure().message);
  for (const auto& row : *rows) {
    if (row.state != store::version_state::serving || n->failed.contains(row.id)) continue;
    const auto here = n->versions.find(row.id);
    if (here == n->versions.end() || here->second.weights->digest != row.digest ||
        here->second.state != schema::VersionState::SERVING)
      return law_broken(law::follows, to_string(row.id) + " is not served by " + node.facts.name);
  }
  return std::nullopt;
}

// -- what is durable

void durable_laws::check(const sim_head& head) {
  if (seen_ == head.power.get() && seen_calls_ == head.power->calls()) return;
  seen_ = head.power.get();
  seen_calls_ = head.power->calls();
  const auto rows = head.versions->list();
  in_.demand(static_cast<bool>(rows), law::durable,
             [&] { return "the registry cannot be read: " + rows.failure().message; });
  if (rows) check_versions(*rows);
  if (head.journal) check_journal(*head.journal);
}

void durable_laws::check_versions(const std::vector<store::version_row>& rows) {
  std::map<std::string, version_id> serving;
  std::set<version_id> now;
  for (const auto& row : rows) {
    now.insert(row.id);
    const bool fresh = digests_.emplace(row.id, row.digest).second;
    std::string other;
    in_.demand(known_->note(row.id, row.digest, other), law::numbers,
               [&] { return to_string(row.id) + " was " + other + " and is " + row.digest; });
    if (fresh) in_.note(to_string(row.id) + " is " + row.digest);
    if (row.state != store::version_state::serving) continue;
    const auto [at, alone] = serving.emplace(row.id.name, row.id);
    in_.demand(alone, law::one_serves,
               [&] { return to_string(row.id) + " and " + to_string(at->second); });
  }
  for (const auto& [id, digest] : digests_)
    in_.demand(now.contains(id), law::durable, [&] { return to_string(id) + " is lost"; });
}

/// Journals grow at their end; older rounds than the last two do not change any more.
void durable_laws::check_journal(store::round_journal& journal) {
  const auto rounds = journal.rounds("assistant");
  if (!rounds) return in_.breach(law::durable, rounds.failure().message);
  for (std::size_t i = rounds->size() - std::min<std::size_t>(2, rounds->size());
       i < rounds->size(); ++i) {
    const auto round = (*rounds)[i];
    const auto now = journal.read("assistant", round);
    if (!now) return in_.breach(law::durable, now.failure().message);
    auto& before = journals_[round];
    const bool kept =
        now->size() >= before.size() && std::equal(before.begin(), before.end(), now->begin());
    in_.demand(kept, law::durable, [&] {
      return "of round " + count(round) + " the journal had " + count(before.size()) +
             " records and has others";
    });
    if (!kept) return;
    for (std::size_t r = before.size(); r < now->size(); ++r) check_record(round, (*now)[r]);
    before = *now;
  }
  in_.demand(rounds->size() == journals_.size(), law::durable,
             [&] { return "there are " + count(rounds->size()) + " rounds, there were more"; });
}

void durable_laws::check_record(std::uint32_t round, const std::string& text) {
  using enum federation::record_kind;
  const auto r = federation::record_of(text);
  if (!r) return in_.breach(law::durable, "record of no kind: " + r.failure().message);
  in_.note("round " + count(round) + ": " + std::string(to_string(r->kind)) + " " + r->client +
           r->digest.substr(0, 12) + " " + r->reason);
  auto& s = sums_[round];
  if (r->kind == opened) s.setup = r->setup;
  if (r->kind == accepted) {
    const auto task = r->task_round == 0 ? round : r->task_round;
    in_.demand(counted_.emplace(r->client, task).second, law::counts, [&] {
      return r->client + "'s update of task " + count(task) + " counts again in round " +
             count(round);
    });
    s.accepted.push_back(*r);
  }
  if (r->kind == summed) check_sum(s, *r);
  if (r->kind == serving) ++promoted_;
  if (r->kind != candidate) return;
  const auto at = digests_.find({"assistant", r->version});
  in_.demand(at != digests_.end() && at->second == s.version_digest, law::sum, [&] {
    return "round " + count(round) + " made assistant@" + count(r->version) + ", which is " +
           (at == digests_.end() ? "not registered" : at->second) + " and not " + s.version_digest;
  });
}

/// Factors that another road led to than the aggregator's: the records and the bytes on the wire.
void durable_laws::check_sum(sums& s, const federation::round_record& r) {
  std::vector<std::unique_ptr<federation::memory_source>> values;
  std::vector<federation::summand> updates;
  for (const auto& a : s.accepted) {
    const auto* bytes = tap.find(a.digest);
    if (bytes == nullptr)
      return in_.breach(law::sum, a.client + "'s update " + a.digest + " was never sent");
    values.push_back(std::make_unique<federation::memory_source>(*bytes));
    updates.push_back({a.digest, a.tokens, a.staleness, learned_shape(), values.back().get()});
  }
  const auto parent = factors_of(s.setup.parent_digest);
  const auto made = federation::aggregate_updates(learns_.how, learned_shape(), s.setup.trained,
                                                  *parent, std::move(updates));
  if (!made) return in_.breach(law::sum, "nothing can follow: " + made.failure().message);
  const auto bytes = std::as_bytes(std::span(made->factors));
  in_.demand(store::digest_of(bytes) == r.digest, law::sum,
             [&] { return "round " + count(s.setup.round) + " summed to other bytes"; });
  s.version_digest = digest_of_factors(made->factors);
  factors_[s.version_digest] = made->factors;
}

const std::vector<float>* durable_laws::factors_of(const std::string& digest) {
  const auto at = factors_.find(digest);
  if (at != factors_.end()) return &at->second;
  return &(factors_[digest] = factors_named(digest));
}

bool durable_laws::ended(std::uint32_t round) const {
  using enum federation::record_kind;
  const auto at = journals_.find(round);
  if (at == journals_.end() || at->second.empty()) return true;
  const auto last = federation::record_of(at->second.back());
  return last && (last->kind == voided || last->kind == serving || last->kind == rejected);
}

}  // namespace collm::simulation
