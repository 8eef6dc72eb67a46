#include "tests/simulation/cluster/cluster.hpp"

#include <algorithm>
#include <csignal>

#include "messages/assert.hpp"
#include "tests/simulation/cluster/law_names.hpp"

namespace collm::simulation {

namespace {

constexpr auto all_end_within = milliseconds(120000);
constexpr auto quiet_within = milliseconds(120000);

}  // namespace

cluster::cluster(plan p, std::filesystem::path folder, sabotage broken)
    : plan_(std::move(p)),
      folder_(std::move(folder)),
      world_(plan_.seed, broken),
      durable_(world_, known_, plan_.learns) {
  std::filesystem::remove_all(folder_);
  std::filesystem::create_directories(folder_);
  for (const auto& f : plan_.nodes) {
    places_.push_back(std::make_unique<place>());
    places_.back()->facts = f;
  }
  world_.after_turn = [this](process* p) { check(p); };
}

cluster::~cluster() {
  world_.after_turn = nullptr;
  world_.end();
  for (const auto& p : places_)
    if (p->node && p->node->proc->alive) world_.kill(*p->node->proc);
  if (head_lives()) world_.kill(*head_->proc);
  for (const auto& p : places_) p->sky->waiting.clear();  // else it would hold its connection
  std::filesystem::remove_all(folder_);
}

// -- processes

void cluster::start_head() {
  if (head_) dead_heads_.push_back(std::move(head_));
  ++head_life_;
  dies_at_call_ = false;
  power_ = std::make_shared<testing_support::power>();
  head_options o;
  o.folder = folder_;
  o.learns = plan_.learns;
  for (const auto& p : places_) {
    o.nodes.push_back({p->facts.name, p->facts.site, true});
    o.replicas += p->facts.replicas;
  }
  o.launch = [this](const std::string& name, std::uint64_t i) { return launch(name, i); };
  o.kill = [this](std::int32_t pid) {
    world_.later(microseconds(500), [this, pid] {
      for (auto& p : places_)
        if (p->node && p->node->pid == pid) end_node(*p, "killed by the supervisor", SIGKILL);
    });
  };
  world_.note("a head starts");
  head_ = std::make_unique<sim_head>(world_, std::move(o), power_);
  head_->gateway->known = known_;
}

/// The kernel tells its children, which end in order.
void cluster::kill_head(const std::string& why) {
  dies_at_call_ = false;
  if (!head_lives()) return;
  ++seen_["heads killed"];
  head_->die(why);
  for (auto& p : places_) {
    if (!p->node || !p->node->proc->alive) continue;
    if (p->node->way->now) p->node->way->now->cut("the head was killed");
    p->node->drain();
  }
  world_.later(world_.draw(milliseconds(500), milliseconds(4000)), [this] { start_head(); });
}

result<std::int32_t> cluster::launch(const std::string& name, std::uint64_t incarnation) {
  const auto pid = ++next_pid_;
  world_.later(world_.draw(milliseconds(20), milliseconds(1500)),
               [this, name, incarnation, pid, life = head_life_] {
                 start_node(*at(name), incarnation, pid, life);
               });
  return pid;
}

void cluster::start_node(place& p, std::uint64_t incarnation, std::int32_t pid,
                         std::uint64_t head_life) {
  if (head_life != head_life_ || !head_lives()) return;  // it sees that its parent is gone
  if (p.node && p.node->proc->alive) {                   // the one before still holds the ports
    head_->child_ended(p.facts.name, pid, 1 << 8);
    return;
  }
  if (p.node) dead_nodes_.push_back(std::move(p.node));
  world_.note(p.facts.name + " starts");
  node_link::options link{.name = p.facts.name,
                          .site = p.facts.site,
                          .incarnation = incarnation,
                          .pid = pid,
                          .sky = p.sky,
                          .listener = [this] { return head_lives() ? head_->gate.get() : nullptr; },
                          .head = [this] { return head_lives() ? &head_->ends() : nullptr; }};
  p.node = std::make_unique<sim_node>(world_, p.facts, plan_.learns, folder_ / p.facts.name,
                                      std::move(link));
  p.node->way->on_update = [this](const schema::UpdateChunk::Reader& c) { durable_.tap.saw(c); };
  p.node->gateway->known = known_;
  p.node->on_exit = [this, node = p.node.get(), &p] {
    world_.later(microseconds(0), [this, node, &p] {
      if (p.node.get() == node) end_node(p, "it has drained", 0);
    });
  };
}

void cluster::end_node(place& p, const std::string& why, std::int32_t status) {
  if (!p.node || !p.node->proc->alive) return;
  p.node->die(why);
  world_.later(world_.draw(microseconds(100), microseconds(3000)),
               [this, name = p.facts.name, pid = p.node->pid, status, life = head_life_] {
                 if (life == head_life_) head_->child_ended(name, pid, status);
               });
}

cluster::place* cluster::at(const std::string& name) {
  for (auto& p : places_)
    if (p->facts.name == name) return p.get();
  return nullptr;
}

// -- the plan

void cluster::act_on(const step& s) {
  if (s.what == act::ask) return ask(s);
  world_.note("the plan: " + text_of(s, plan_));
  auto* node = s.who < places_.size() ? places_[s.who]->node.get() : nullptr;
  const bool there = node != nullptr && node->proc->alive;
  switch (s.what) {
    case act::load:
      if (there) caf::anon_send(node->node, actors::load_atom::value, s.name, s.folder);
      return;
    case act::unload:
      if (there) caf::anon_send(node->node, actors::unload_atom::value, s.name);
      return;
    case act::load_at_head:
      if (head_lives())
        caf::anon_send(head_->supervisor, actors::load_atom::value, s.name, s.folder);
      return;
    case act::roll_back:
      if (head_lives()) caf::anon_send(head_->registry, actors::rollback_atom::value, s.name);
      return;
    case act::close_round:
      if (head_lives() && head_->aggregator)
        caf::anon_send(head_->aggregator, actors::close_atom::value, std::string("an operator"));
      return;
    default:
      fault(s);
  }
}

void cluster::ask(const step& s) {
  auto send = [&](sim_gateway& g, const std::string& site) {
    accounts_.push_back(g.send(s.asked, site, next_serial_++));
  };
  if (s.who == places_.size()) {
    const auto& site = places_[s.asked.seed % places_.size()]->facts.site;
    return head_lives() ? send(*head_->gateway, site) : void(++seen_["connections refused"]);
  }
  auto& node = places_[s.who]->node;
  if (!node || !node->proc->alive) return void(++seen_["connections refused"]);
  send(*node->gateway, "");
  if (world_.breaks(sabotage::stray_message))
    caf::anon_send(caf::actor_cast<caf::actor>(node->router), 42);
}

void cluster::fault(const step& s) {
  auto& p = *places_[s.who];
  ++seen_["faults"];
  switch (s.what) {
    case act::kill_node:
      return end_node(p, "kill -9", SIGKILL);
    case act::kill_head:
      return kill_head("kill -9");
    case act::kill_at_call:
      power_->left = static_cast<int>(s.calls);
      dies_at_call_ = true;
      return;
    case act::full_disk:
      power_->gone = true;
      return world_.later(s.lasts, [power = power_] { power->gone = false; });
    case act::cut:
      if (p.node && p.node->way->now) p.node->way->now->cut("a cable was pulled");
      return;
    case act::black_hole:
      p.sky->reachable = false;
      return world_.later(s.lasts, [sky = p.sky] { sky->clear_up(); });
    case act::slow_link:
      p.sky->most = milliseconds(400);
      return world_.later(s.lasts, [sky = p.sky] { sky->most = milliseconds(3); });
    case act::stop_node:
      return p.node ? stop_for(p.node->proc, s.lasts) : void();
    case act::stop_head:
      return head_lives() ? stop_for(head_->proc, s.lasts) : void();
    case act::fail_steps:
      if (!p.node || !p.node->proc->alive) return;
      p.node->failing_steps += s.calls;
      for (const auto& r : p.node->replicas)
        if (r.steps) r.steps->failing_steps += s.calls;
      return;
    case act::sleep:
      return world_.system.compute(s.lasts);
    default:
      return;
  }
}

void cluster::stop_for(const process_ptr& p, milliseconds lasts) {
  p->stop();
  world_.later(lasts, [p] { p->go_on(); });
}

// -- running

/// What has no seam in the rig is broken in the state of an engine.
void cluster::break_engine(const replica_parts& r) {
  const auto* e = r.engine ? state_of<actors::engine_state>(r.engine) : nullptr;
  if (e == nullptr || e->pins.empty()) return;
  if (world_.breaks(sabotage::kept_pin))
    ++const_cast<actors::engine_state*>(e)->pins.begin()->second;
  if (!world_.breaks(sabotage::kept_sequence)) return;
  engine::sequence_spec nobodys;
  nobodys.id = 1u << 20;
  nobodys.prompt = {1};
  COLLM_ASSERT(r.steps->add(std::move(nobodys)));
}

void cluster::check(process* p) {
  // Nobody hears what the head said in the turn of the call.
  if (dies_at_call_ && power_->gone) return kill_head("a power cut at a durable call");
  if (head_lives()) durable_.check(*head_);
  if (p == nullptr) return;
  if (head_lives() && p == head_->proc.get()) return check_meters(world_, *head_->board, "head");
  for (const auto& each : places_)
    if (each->node && each->node->proc.get() == p) {
      for (const auto& r : each->node->replicas) break_engine(r);
      return check_node(world_, *each->node);
    }
}

void cluster::play() {
  start_head();
  for (const auto& s : plan_.steps) {
    const auto passed = std::chrono::duration_cast<milliseconds>(world_.now().time_since_epoch());
    const auto until = s.at > passed ? s.at - passed : milliseconds(0);
    world_.pass(until);
    act_on(s);
  }
  world_.pass(milliseconds(7000));  // the longest fault
}

void cluster::end_quietly() {
  world_.note("faults have ended");
  power_->gone = dies_at_call_ = false;
  power_->left = 1 << 30;
  const auto end = world_.now() + all_end_within;
  while (!all_ended() && world_.now() < end) world_.pass(milliseconds(200));
  for (const auto& a : accounts_)
    if (a->how == ending::open)
      throw law_broken(law::progress, a->text() + (a->accepted ? " still runs" : " still waits"));
  const auto round = durable_.newest_round();
  for (auto still = unrest(round); still; still = unrest(round)) {
    if (world_.now() >= end + quiet_within) throw *still;
    world_.pass(milliseconds(100));
  }
}

/// What is left to do; rounds after `round` may go on.
std::optional<law_broken> cluster::unrest(std::uint32_t round) const {
  if (!head_lives()) return law_broken(law::progress, "no head was started again");
  if (!durable_.ended(round))
    return law_broken(law::progress, "round " + std::to_string(round) + " does not end");
  const auto* shown = state_of<actors::supervisor_state>(head_->supervisor);
  if (shown == nullptr) return law_broken(law::meters, "the supervisor ended");
  if (auto open = unaccounted(*head_->gateway, head_->telemetry, "the head")) return open;
  for (const auto& p : places_) {
    if (!p->node || !p->node->proc->alive)
      return law_broken(law::progress, p->facts.name + " was not started again");
    const auto& m = shown->nodes.at(p->facts.name);
    if (m.state != schema::NodeState::SERVING || m.pid != p->node->pid)
      return law_broken(law::shown, p->facts.name + " lives as " + std::to_string(p->node->pid) +
                                        " and is shown as " + std::to_string(m.pid) + " in state " +
                                        std::to_string(static_cast<int>(m.state)));
    if (auto still = unrest_of(*p->node, *head_->versions)) return still;
  }
  return std::nullopt;
}

bool cluster::all_ended() const {
  return std::all_of(accounts_.begin(), accounts_.end(),
                     [](const auto& a) { return a->how != ending::open; });
}

outcome cluster::run() {
  outcome o{.seed = plan_.seed};
  try {
    play();
    end_quietly();
  } catch (const law_broken& e) {
    o.broken_law = e.law();
    o.report = report(e);
  }
  o.hash = world_.hash();
  o.turns = world_.turns();
  o.sabotaged = world_.broken();
  count(o);
  return o;
}

void cluster::count(outcome& o) const {
  for (const auto& a : accounts_) ++o.endings[std::string(to_string(a->how))];
  o.seen = seen_;
  if (durable_.rounds() > 0) o.seen["rounds"] = durable_.rounds();
  if (durable_.promoted() > 0) o.seen["promoted"] = durable_.promoted();
}

std::string cluster::report(const law_broken& e) const {
  return "seed " + std::to_string(plan_.seed) + " broke the " + e.what() +
         "\n\nThe plan: " + plan_.text() + "\nWhat happened last:\n" + world_.last_notes(60) +
         "\nThe last events:\n" + world_.last_events(40) + "\nAgain: ./dev simtest " +
         std::to_string(plan_.seed) + "\n";
}

outcome run_seed(std::uint64_t seed, const std::filesystem::path& folder, sabotage broken) {
  return cluster(draw_plan(seed), folder, broken).run();
}

}  // namespace collm::simulation
