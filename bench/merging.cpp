#include "bench/merging.hpp"

#include <memory>
#include <span>

#include "bench/key_values.hpp"

namespace collm::bench {
namespace {

engine::trained_factors as_engines(federation::trained_factors t) {
  if (t == federation::trained_factors::a_only) return engine::trained_factors::a_only;
  if (t == federation::trained_factors::b_only) return engine::trained_factors::b_only;
  return engine::trained_factors::both;
}

std::vector<float> row(const engine::adapter& a) {
  std::vector<float> all;
  for (const auto& f : engine::adapter_factors(a))
    all.insert(all.end(), f.values.begin(), f.values.end());
  return all;
}

}  // namespace

federation::strategy strategy_of(const std::string& name) {
  federation::strategy s;
  const auto mode = federation::aggregate_mode_of(name);
  if (!mode) stop("'" + name + "' is no way to aggregate: take fedavg, ffa, rolora or stack_svd");
  s.aggregate = *mode;
  return s;
}

merging::merging(engine::adapter_ptr first, const federation::strategy& how, float alpha)
    : parent_(std::move(first)), how_(how) {
  const auto factors = engine::adapter_factors(*parent_);
  for (std::size_t i = 0; i < factors.size(); i += 2)
    shape_.pairs.push_back({factors[i].rows, factors[i].columns, factors[i + 1].rows,
                            alpha / static_cast<float>(factors[i].rows)});
}

void merging::begin(const std::vector<engine::trainer*>& shadows) {
  trained_ = federation::trained_in(how_, phase_++);
  for (auto* s : shadows) must(s->rebase(parent_, as_engines(trained_)));
}

double merging::merge(const std::vector<client>& clients) {
  std::vector<std::unique_ptr<federation::memory_source>> sources;
  std::vector<federation::summand> updates;
  for (const auto& c : clients) {
    sources.push_back(std::make_unique<federation::memory_source>(change(*c.shadow)));
    updates.push_back({std::to_string(updates.size()), c.tokens, 0, shape_, sources.back().get()});
  }
  const auto sum = must(
      federation::aggregate_updates(how_, shape_, trained_, row(*parent_), std::move(updates)));
  std::vector<std::span<const float>> values;
  std::size_t at = 0;
  for (const auto& f : engine::adapter_factors(*parent_)) {
    values.push_back(std::span(sum.factors).subspan(at, f.values.size()));
    at += f.values.size();
  }
  parent_ = must(engine::adapter_with_factors(*parent_, values));
  return sum.error.value_or(-1);
}

std::uint64_t merging::update_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& f : engine::adapter_factors(*parent_))
    if (trained(f)) bytes += f.values.size_bytes();
  return bytes;
}

bool merging::trained(const engine::factor& f) const {
  return trained_ == federation::trained_factors::both ||
         f.is_b == (trained_ == federation::trained_factors::b_only);
}

/// After minus parent, of the trained factors.
std::vector<float> merging::change(const engine::trainer& shadow) const {
  const auto before = engine::adapter_factors(*parent_), after = shadow.factors();
  std::vector<float> all;
  for (std::size_t i = 0; i < after.size(); ++i)
    if (trained(after[i]))
      for (std::size_t k = 0; k < after[i].values.size(); ++k)
        all.push_back(after[i].values[k] - before[i].values[k]);
  return all;
}

}  // namespace collm::bench
