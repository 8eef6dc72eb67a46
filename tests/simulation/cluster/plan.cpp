#include "tests/simulation/cluster/plan.hpp"

#include <algorithm>
#include <random>

namespace collm::simulation {

namespace {

class drawing {
 public:
  explicit drawing(std::uint64_t seed) : chance_(seed * 0x9e3779b97f4a7c15ull + 1) {}

  plan make(std::uint64_t seed) {
    out_.seed = seed;
    out_.ends = milliseconds(12000 + draw(18000));
    nodes();
    learning();
    requests();
    versions();
    bad_days();
    std::stable_sort(out_.steps.begin(), out_.steps.end(),
                     [](const step& a, const step& b) { return a.at < b.at; });
    return out_;
  }

 private:
  std::uint64_t draw(std::uint64_t n) { return n < 2 ? 0 : chance_() % n; }
  bool happens(std::uint32_t of_hundred) { return draw(100) < of_hundred; }
  milliseconds at_some_time(std::uint64_t from = 3000) {
    const auto end = static_cast<std::uint64_t>(out_.ends.count());
    return milliseconds(from + draw(end - from));
  }
  std::uint32_t some_node() { return static_cast<std::uint32_t>(draw(out_.nodes.size())); }

  /// Few nodes more often than many: most faults need two, and small runs are short.
  void nodes() {
    const auto count = happens(70) ? 1 + draw(3) : 4 + draw(5);
    const auto sites = 1 + draw(std::min<std::uint64_t>(count, 3));
    for (std::uint64_t i = 0; i < count; ++i) {
      node_facts f;
      f.name = "edge-" + std::string(1, static_cast<char>('a' + i));
      f.site = "site-" + std::to_string(i % sites);
      f.replicas = happens(25) ? 2 : 1;
      f.queued_max = 4 + static_cast<std::uint32_t>(draw(12));
      f.running_max = 2 + static_cast<std::uint32_t>(draw(7));
      f.kv_blocks = 24 + static_cast<std::uint32_t>(draw(40));
      f.turn = microseconds(1000 + draw(20000));
      out_.nodes.push_back(f);
    }
  }

  void learning() {
    using enum federation::aggregate_mode;
    auto& l = out_.learns;
    std::uint32_t replicas = 0;
    for (const auto& n : out_.nodes) replicas += n.replicas;
    l.on = happens(75);
    constexpr federation::aggregate_mode modes[] = {rolora, fedavg, ffa, stack_svd};
    l.how.aggregate = modes[draw(std::size(modes))];
    l.how.fedbuff = l.how.linear() && happens(20);
    if (!l.how.fedbuff && (l.how.aggregate == rolora || l.how.aggregate == ffa) && happens(20))
      l.how.robust = federation::robust_rule::median;
    l.quorum = 1 + static_cast<std::uint32_t>(draw(std::min(replicas, 3u)));
    l.steps = 1 + static_cast<std::uint32_t>(draw(20));
    l.deadline_ms = static_cast<double>(4000 + draw(8000));
    if (happens(30)) l.canary = {.share = 0.5, .completions = 5, .time_max_ms = 4000};
  }

  std::string some_model() {
    if (happens(50)) return "assistant";
    constexpr const char* others[] = {
        "",        "tiny",   "assistant@0", "assistant@1", "assistant@2", "spare",
        "spare@0", "nobody", "assistant@x", "assistant@9", "spare@1",     "base"};
    return others[draw(std::size(others))];
  }

  void requests() {
    const auto count = 20 + draw(20 * out_.nodes.size());
    auto at = milliseconds(0);
    for (std::uint64_t i = 0; i < count; ++i) {
      // Some come in bursts, so that queues fill.
      if (!happens(40)) at = at_some_time(500);
      step s{.at = at, .what = act::ask};
      s.who = happens(25) ? static_cast<std::uint32_t>(out_.nodes.size()) : some_node();
      s.asked = {.model = some_model(),
                 .prompt = 1 + static_cast<std::uint32_t>(happens(80) ? draw(20) : draw(200)),
                 .max_tokens = 1 + static_cast<std::uint32_t>(happens(80) ? draw(24) : draw(120)),
                 .choices = happens(10) ? 2 + static_cast<std::uint32_t>(draw(3)) : 1,
                 .seed = draw(1000)};
      if (happens(15)) s.asked.cancel_after = milliseconds(1 + draw(2000));
      if (happens(15)) s.asked.reads_every = milliseconds(5 + draw(200));
      s.asked.interactive = happens(75);
      out_.steps.push_back(s);
    }
  }

  void versions() {
    constexpr const char* folders[] = {"red", "green", "blue", "red", "bad", "unfit"};
    for (std::uint64_t i = draw(7); i > 0; --i) {
      step s{.at = at_some_time(), .what = act::load};
      s.who = some_node();
      const auto kind = draw(10);
      if (kind >= 5) s.what = act::load_at_head;
      if (kind >= 7) s.what = act::unload;
      if (kind >= 8) s.what = happens(50) ? act::roll_back : act::close_round;
      s.name = happens(70) ? "assistant" : "spare";
      s.folder = std::string("/adapters/") + folders[draw(std::size(folders))];
      out_.steps.push_back(s);
    }
  }

  void bad_days() {
    if (happens(15)) return;  // good ones, too
    for (std::uint64_t i = 1 + draw(6); i > 0; --i) {
      step s{.at = at_some_time(), .what = some_fault()};
      s.who = some_node();
      s.lasts = milliseconds(200 + draw(s.what == act::slow_link ? 3000 : 6000));
      s.calls = static_cast<std::uint32_t>(draw(6));
      out_.steps.push_back(s);
    }
  }

  act some_fault() {
    constexpr act faults[] = {act::kill_node,  act::kill_node, act::kill_head, act::kill_at_call,
                              act::full_disk,  act::cut,       act::cut,       act::black_hole,
                              act::slow_link,  act::stop_node, act::stop_node, act::stop_head,
                              act::fail_steps, act::sleep};
    return faults[draw(std::size(faults))];
  }

  std::mt19937_64 chance_;
  plan out_;
};

std::string name_of(act a) {
  constexpr const char* names[] = {"ask",
                                   "load",
                                   "load at the head",
                                   "unload",
                                   "roll back",
                                   "kill node",
                                   "kill head",
                                   "kill head at call",
                                   "full disk",
                                   "cut link of",
                                   "black hole at",
                                   "slow link of",
                                   "stop node",
                                   "stop head",
                                   "close round",
                                   "fail steps of",
                                   "the machine sleeps"};
  return names[static_cast<std::size_t>(a)];
}

}  // namespace

plan draw_plan(std::uint64_t seed) { return drawing(seed).make(seed); }

std::string text_of(const step& s, const plan& of) {
  std::string out = std::to_string(s.at.count()) + " ms: " + name_of(s.what);
  if (s.who < of.nodes.size() && s.what != act::kill_head) out += " " + of.nodes[s.who].name;
  if (s.who == of.nodes.size()) out += " head";
  if (s.what == act::ask)
    out += " model \"" + s.asked.model + "\", " + std::to_string(s.asked.prompt) + " + " +
           std::to_string(s.asked.max_tokens) + " tokens x " + std::to_string(s.asked.choices);
  if (!s.name.empty()) out += " " + s.name + " " + s.folder;
  if (s.what == act::kill_at_call || s.what == act::fail_steps)
    out += " " + std::to_string(s.calls);
  if (s.lasts.count() > 0) out += " for " + std::to_string(s.lasts.count()) + " ms";
  return out;
}

std::string plan::text() const {
  std::string out =
      std::to_string(nodes.size()) + " nodes, " + std::to_string(ends.count()) + " ms";
  if (learns.on)
    out += ", learns by " + std::string(federation::to_string(learns.how.aggregate)) +
           (learns.how.fedbuff ? " (fedbuff)" : "") +
           (learns.how.robust == federation::robust_rule::none ? "" : " (median)") + ", quorum " +
           std::to_string(learns.quorum) + (learns.canary ? ", canary" : "");
  out += ":\n";
  for (const auto& s : steps)
    if (s.what != act::ask) out += "  " + text_of(s, *this) + "\n";
  return out;
}

}  // namespace collm::simulation
