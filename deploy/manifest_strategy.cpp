#include "deploy/manifest_strategy.hpp"

#include <algorithm>
#include <iterator>

namespace collm::deploy {
namespace {

const std::vector<std::string> robust_rules = {"none", "trimmed_mean", "median"};

/// A name of Flower's and what it says in ours. Its robust rules compare coordinates of a whole
/// model; of factors those mean something only while the other half is frozen, as rolora has it.
struct flower_name {
  const char* name;
  const char* aggregate;
  const char* robust;
  bool fedbuff;
  bool needs_prox;
};
constexpr flower_name flower_names[] = {{"FedAvg", "fedavg", "none", false, false},
                                        {"FedProx", "fedavg", "none", false, true},
                                        {"FedTrimmedAvg", "rolora", "trimmed_mean", false, false},
                                        {"FedMedian", "rolora", "median", false, false},
                                        {"FedBuff", "fedavg", "none", true, false}};

const flower_name* find_flower(const std::string& name) {
  const auto found = std::find_if(std::begin(flower_names), std::end(flower_names),
                                  [&](const flower_name& f) { return f.name == name; });
  return found == std::end(flower_names) ? nullptr : found;
}

std::vector<std::string> all_names() {
  std::vector<std::string> names;
  for (const auto mode : federation::aggregate_modes) names.emplace_back(to_string(mode));
  for (const flower_name& f : flower_names) names.push_back(f.name);
  return names;
}

void apply(const flower_name& alias, strategy_spec& out) {
  out.aggregate = alias.aggregate;
  out.robust = alias.robust;
  out.fedbuff = alias.fedbuff;
}

/// `strategy: FedAvg`
void read_name(section& item, strategy_spec& out) {
  std::string name;
  item.read("strategy", name, word_of("strategy", all_names()));
  if (name.empty()) return;
  const flower_name* alias = find_flower(name);
  if (!alias) {
    out.aggregate = name;
  } else if (alias->needs_prox) {
    item.blame("strategy", name + " needs its prox; write {aggregate: FedProx, prox: 0.1}");
  } else {
    apply(*alias, out);
  }
}

}  // namespace

void read_strategy(section& item, strategy_spec& out) {
  if (item.is_scalar("strategy")) return read_name(item, out);
  section strategy = item.child("strategy");
  std::string mode, async;
  strategy.read("aggregate", mode, word_of("strategy", all_names()), presence::required);
  const flower_name* alias = find_flower(mode);
  if (alias)
    apply(*alias, out);
  else if (!mode.empty())
    out.aggregate = mode;
  strategy.read("prox", out.prox, real_between(0, 1000));
  strategy.read("async", async, word_of("asynchronous mode", {"fedbuff"}));
  strategy.read("robust", out.robust, word_of("robust rule", robust_rules));
  if (alias && alias->needs_prox && out.prox == 0) {
    strategy.blame("aggregate", "FedProx needs a prox over 0, such as prox: 0.1");
  }
  out.fedbuff = out.fedbuff || async == "fedbuff";
  strategy.close();
}

result<federation::strategy> strategy_of(const federation_spec& f) {
  using federation::robust_rule;
  federation::strategy s;
  const auto mode = federation::aggregate_mode_of(f.strategy.aggregate);
  if (!mode) return error{errc::bad_request, "no aggregate mode \"" + f.strategy.aggregate + "\""};
  s.aggregate = *mode;
  s.prox_mu = f.strategy.prox;
  s.fedbuff = f.strategy.fedbuff;
  s.robust = f.strategy.robust == "trimmed_mean" ? robust_rule::trimmed_mean
             : f.strategy.robust == "median"     ? robust_rule::median
                                                 : robust_rule::none;
  if (auto good = federation::check(s, !f.ranks.empty()); !good) return good.failure();
  return s;
}

}  // namespace collm::deploy
