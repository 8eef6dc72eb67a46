#include "tests/simulation/cluster/world.hpp"

#include <cxxabi.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "tests/simulation/cluster/law_names.hpp"

namespace collm::simulation {

namespace {

constexpr std::size_t turns_kept = 400, mailbox_max = 2000;

std::string plain_name(const std::type_info& type) {
  int status = 0;
  std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), std::free);
  return status == 0 ? name.get() : type.name();
}

}  // namespace

world::world(std::uint64_t seed, sabotage broken) : chance_(seed), breaks_(broken) {
  wire_ = system.get().spawn(
      [](caf::event_based_actor*) -> caf::behavior { return {[](const task& t) { (*t.run)(); }}; });
  system.keep(wire_);
  system.conduct(this);
}

world::~world() { system.conduct(nullptr); }

void process::arrive(std::function<void()> f) {
  if (stopped_)
    came_in_.push_back(std::move(f));
  else
    f();
}

void process::go_on() {
  stopped_ = false;
  for (const auto& f : std::exchange(came_in_, {})) f();
}

bool world::breaks(sabotage what) {
  if (breaks_ != what || was_broken_) return false;
  was_broken_ = true;
  note("the test breaks something here");
  return true;
}

void world::later(std::chrono::nanoseconds after, std::function<void()> f) {
  caf::delayed_anon_send(wire_, after, task_of(std::move(f)));
}

void world::kill(process& p) {
  p.alive = p.stopped_ = false;
  p.came_in_.clear();
  std::set<caf::actor_id> those;
  for (const auto& a : p.actors_) {
    those.insert(a.id());
    caf::anon_send_exit(a, caf::exit_reason::kill);
  }
  system.settle_only(those);
  for (const auto id : those) owners_.erase(id);
  p.actors_.clear();
}

void world::breach(const std::string& law, const std::string& how) {
  if (breach_) return;
  breach_.emplace(law, how);
  note("breach: " + law + ": " + how);
}

void world::note(std::string text) {
  for (const char c : text) mix(static_cast<unsigned char>(c));
  turn t{.at_ms = now_ms(), .text = std::move(text)};
  keep(notes_, t);
  keep(last_, std::move(t));
}

void world::hear(const schema::Event::Reader& e) {
  keep(notes_, {.at_ms = now_ms(),
                .text = std::string(e.getNode().cStr()) + " says " + e.getKind().cStr() + ": " +
                        e.getMessage().cStr()});
}

std::string world::text_of(const std::deque<turn>& turns, std::size_t count) {
  std::string out;
  const auto first = turns.size() - std::min(count, turns.size());
  for (std::size_t i = first; i < turns.size(); ++i) out += text_of(turns[i]) + "\n";
  return out;
}

std::string world::last_events(std::size_t count) const { return text_of(last_, count); }
std::string world::last_notes(std::size_t count) const { return text_of(notes_, count); }

std::string world::text_of(const turn& t) {
  char at[32];
  std::snprintf(at, sizeof at, "%12.3f ms  ", t.at_ms);
  if (!t.text.empty()) return at + t.text;
  std::string out = at + t.where + (t.where.empty() ? "" : " ") + t.actor + " <-";
  if (t.verb != caf::atom_value{}) out += " " + caf::to_string(t.verb);
  for (const auto* type : t.types)
    if (type != nullptr) out += " " + plain_name(*type);
  return out;
}

void world::keep(std::deque<turn>& in, turn t) {
  in.push_back(std::move(t));
  if (in.size() > turns_kept) in.pop_front();
}

process* world::owner_of(caf::actor_id id) const {
  const auto at = owners_.find(id);
  return at == owners_.end() ? nullptr : at->second;
}

std::optional<std::size_t> world::next(const std::deque<caf::resumable*>& ready) {
  std::vector<std::size_t> may;
  may.reserve(ready.size());
  for (std::size_t i = 0; i < ready.size(); ++i) {
    const auto* actor = dynamic_cast<caf::scheduled_actor*>(ready[i]);
    const auto* owner = actor == nullptr ? nullptr : owner_of(actor->id());
    if (owner == nullptr || !owner->stopped_) may.push_back(i);
  }
  if (may.empty()) return {};
  return may[draw(may.size())];
}

void world::before(caf::scheduled_actor& actor) {
  ++turns_;
  current_ = owner_of(actor.id());
  turn t{.at_ms = now_ms(), .actor = actor.name(), .where = current_ ? current_->name : ""};
  mix(static_cast<std::uint64_t>(now().time_since_epoch().count()));
  mix(actor.id());
  demand(actor.mailbox().size() <= mailbox_max, law::bounds, [&] {
    return std::to_string(actor.mailbox().size()) + " messages wait for " + actor.name();
  });
  if (const auto* element = actor.mailbox().peek()) {
    const auto& content = element->content();
    mix(content.size());
    for (std::size_t i = 0; i < std::min(content.size(), t.types.size()); ++i) {
      t.types[i] = content.type(i).second;
      if (t.types[i] != nullptr) mix(t.types[i]->hash_code());
    }
    if (content.size() > 0 && content.matches(0, caf::make_rtti_pair<caf::atom_value>())) {
      t.verb = content.get_as<caf::atom_value>(0);
      mix(static_cast<std::uint64_t>(t.verb));
    }
  }
  keep(last_, std::move(t));
}

void world::after() {
  if (after_turn && (current_ == nullptr || current_->alive)) after_turn(current_);
  if (breach_) throw *breach_;
}

}  // namespace collm::simulation
