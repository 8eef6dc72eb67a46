#include "engine/adapter/adapter.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "engine/adapter/peft.hpp"
#include "engine/adapter/peft_config.hpp"
#include "engine/sample/counter_rng.hpp"
#include "engine/sha256.hpp"

namespace collm::engine {
namespace {

std::vector<bool> chosen_targets(const std::vector<std::string>& names, std::string& unknown) {
  std::vector<bool> chosen(targets_count, false);
  for (const std::string& name : names) {
    const auto at =
        std::ranges::find(target_names, name, [](const char* n) { return std::string_view(n); });
    if (at == target_names.end())
      unknown = name;
    else
      chosen[static_cast<std::size_t>(at - target_names.begin())] = true;
  }
  return chosen;
}

// Kaiming-uniform with a = sqrt(5), as PEFT starts A: U(-1/sqrt(in), 1/sqrt(in)). B = 0.
lora_pair initial_pair(const model_shape& shape, target t, std::uint32_t rank, float alpha,
                       std::uint64_t seed, std::uint64_t& index) {
  const auto [out, in] = target_shape(shape, t);
  lora_pair pair{.rank = rank,
                 .in = in,
                 .out = out,
                 .scale = alpha / static_cast<float>(rank),
                 .a = {},
                 .b = {}};
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  pair.a.resize(std::size_t{rank} * in);
  for (float& x : pair.a)
    x = static_cast<float>((2 * uniform(seed, random_stream::initial_weights, index++) - 1) *
                           bound);
  pair.b.assign(std::size_t{out} * rank, 0.0f);
  return pair;
}

/// The power of two that brings the largest of `values` to [512, 1024): far from a half's largest
/// number, and what is a ten-millionth of it is still a normal half.
float unit_of(const std::vector<float>& values) {
  float most = 0;
  for (const float v : values) most = std::max(most, std::fabs(v));
  int exponent = 0;
  (void)std::frexp(most, &exponent);
  return most > 0 ? std::ldexp(1.0f, std::clamp(10 - exponent, -120, 100)) : 1.0f;
}

std::vector<half> to_served(std::vector<float> values, float unit) {
  for (float& v : values) v *= unit;
  std::vector<half> out(values.size());
  kernels().to_halves(values.data(), static_cast<std::uint32_t>(values.size()), out.data());
  return out;
}

lora_pair first_directions(const lora_pair& p, std::uint32_t most) {
  const std::uint32_t rank = std::min(p.rank, most);
  lora_pair cut{.rank = rank, .in = p.in, .out = p.out, .scale = p.scale, .a = {}, .b = {}};
  cut.a.assign(p.a.begin(), p.a.begin() + std::ptrdiff_t{rank} * p.in);
  cut.b.reserve(std::size_t{p.out} * rank);
  for (std::size_t o = 0; o < p.out && rank > 0; ++o) {
    const auto row = p.b.begin() + static_cast<std::ptrdiff_t>(o * p.rank);
    cut.b.insert(cut.b.end(), row, row + rank);
  }
  return cut;
}

}  // namespace

void lora_pair::prepare() {
  std::vector<float> bt(b.size());
  for (std::size_t o = 0; o < out; ++o)
    for (std::size_t j = 0; j < rank; ++j) bt[j * out + o] = b[o * rank + j];
  const float unit_a = unit_of(a), unit_b = unit_of(b);
  served_a = to_served(a, unit_a);
  served_bt = to_served(std::move(bt), unit_b);
  served_unit = 1 / unit_a / unit_b;
}

std::pair<std::uint32_t, std::uint32_t> target_shape(const model_shape& shape, target t) {
  const std::uint32_t queries = shape.heads * shape.head_dim;
  const std::uint32_t keys = shape.kv_heads * shape.head_dim;
  switch (t) {
    case target::q:
      return {queries, shape.hidden};
    case target::k:
    case target::v:
      return {keys, shape.hidden};
    case target::o:
      return {shape.hidden, queries};
    case target::gate:
    case target::up:
      return {shape.ffn, shape.hidden};
    case target::down:
      break;
  }
  return {shape.hidden, shape.ffn};
}

adapter_ptr first_directions(const adapter_ptr& whole, std::uint32_t rank) {
  if (rank == 0 || whole->rank_max <= rank) return whole;
  auto made = std::make_shared<adapter>();
  made->layers.resize(whole->layers.size());
  for (std::size_t l = 0; l < whole->layers.size(); ++l)
    for (std::size_t t = 0; t < targets_count; ++t)
      made->layers[l][t] = first_directions(whole->layers[l][t], rank);
  seal(*made);
  return made;
}

void seal(adapter& a) {
  for (auto& layer : a.layers)
    for (lora_pair& p : layer) p.prepare();
  sha256 hash;
  hash.add_text("collm adapter 1");
  hash.add_number(a.layers.size());
  a.rank_max = 0;
  a.bytes = 0;
  for (const auto& layer : a.layers)
    for (const lora_pair& p : layer) {
      for (const std::uint32_t n : {p.rank, p.in, p.out, std::bit_cast<std::uint32_t>(p.scale)})
        hash.add_number(n);
      hash.add(p.a.data(), p.a.size() * sizeof(float));
      hash.add(p.b.data(), p.b.size() * sizeof(float));
      a.rank_max = std::max(a.rank_max, p.rank);
      a.bytes += (p.a.size() + p.b.size()) * (sizeof(float) + sizeof(half));
    }
  a.digest = to_hex(hash.finish());
}

result<adapter_ptr> initial_adapter(const base& b, std::uint32_t rank, float alpha,
                                    const std::vector<std::string>& targets, std::uint64_t seed) {
  if (rank < 1 || rank > rank_max)
    return error{errc::bad_request, "adapter rank is " + std::to_string(rank) +
                                        ", must be from 1 to " + std::to_string(rank_max)};
  if (!(std::isfinite(alpha) && alpha > 0))
    return error{errc::bad_request,
                 "adapter alpha is " + std::to_string(alpha) + ", must be above 0"};
  std::string unknown;
  const std::vector<bool> chosen = chosen_targets(targets, unknown);
  if (!unknown.empty())
    return error{errc::bad_request, "adapter target '" + unknown +
                                        "' is unknown, must be one of q, k, v, o, gate, up, down"};
  if (targets.empty()) return error{errc::bad_request, "an adapter needs at least one target"};
  auto made = std::make_shared<adapter>();
  made->layers.resize(b.shape().layers);
  std::uint64_t index = 0;
  for (auto& layer : made->layers)
    for (std::size_t t = 0; t < targets_count; ++t)
      if (chosen[t])
        layer[t] = initial_pair(b.shape(), static_cast<target>(t), rank, alpha, seed, index);
  seal(*made);
  return adapter_ptr(std::move(made));
}

std::vector<factor> adapter_factors(const adapter& a) {
  std::vector<factor> all;
  for (std::size_t l = 0; l < a.layers.size(); ++l)
    for (std::size_t t = 0; t < targets_count; ++t) {
      const lora_pair& p = a.layers[l][t];
      if (p.rank == 0) continue;
      const std::string name = "layers." + std::to_string(l) + "." + target_names[t] + ".";
      all.push_back({name + "A", p.rank, p.in, false, p.a});
      all.push_back({name + "B", p.out, p.rank, true, p.b});
    }
  return all;
}

result<adapter_ptr> adapter_with_factors(const adapter& like,
                                         std::span<const std::span<const float>> values) {
  const auto names = adapter_factors(like);
  if (values.size() != names.size())
    return error{errc::bad_request, "an adapter of this shape has " + std::to_string(names.size()) +
                                        " factors, not " + std::to_string(values.size())};
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (values[i].size() != names[i].values.size())
      return error{errc::bad_request,
                   "factor " + names[i].name + " has " + std::to_string(values[i].size()) +
                       " numbers, must have " + std::to_string(names[i].values.size())};
    if (!std::ranges::all_of(values[i], [](float v) { return std::isfinite(v); }))
      return error{errc::bad_request, "factor " + names[i].name + " holds no finite number"};
  }
  auto made = std::make_shared<adapter>();
  made->layers = like.layers;
  std::size_t at = 0;
  for (auto& layer : made->layers)
    for (lora_pair& p : layer) {
      if (p.rank == 0) continue;
      p.a.assign(values[at].begin(), values[at].end());
      p.b.assign(values[at + 1].begin(), values[at + 1].end());
      at += 2;
    }
  seal(*made);
  return adapter_ptr(std::move(made));
}

const std::string& adapter_digest(const adapter& a) { return a.digest; }
std::uint64_t adapter_bytes(const adapter& a) { return a.bytes; }
std::uint32_t adapter_rank(const adapter& a) { return a.rank_max; }

}  // namespace collm::engine
