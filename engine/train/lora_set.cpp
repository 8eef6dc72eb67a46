#include "engine/train/lora_set.hpp"

#include <algorithm>

#include "engine/adapter/peft.hpp"
#include "messages/assert.hpp"

namespace collm::engine {
namespace {

matrix product_of(target t) {
  switch (t) {
    case target::q:
    case target::k:
    case target::v:
      return matrix::qkv;
    case target::o:
      return matrix::o;
    case target::gate:
    case target::up:
      return matrix::gate_up;
    case target::down:
      break;
  }
  return matrix::down;
}

std::uint32_t first_output(const model_shape& s, target t) {
  switch (t) {
    case target::k:
      return s.heads * s.head_dim;
    case target::v:
      return (s.heads + s.kv_heads) * s.head_dim;
    case target::up:
      return s.ffn;
    default:
      return 0;
  }
}

}  // namespace

lora_set::lora_set(const model_shape& shape, const adapter& from) {
  COLLM_ASSERT(from.layers.size() == shape.layers);
  products_.resize(std::size_t{shape.layers} * matrices_count);
  by_layer_.resize(shape.layers);
  std::size_t numbers = 0, plain = 0, turned = 0;
  for (std::uint32_t l = 0; l < shape.layers; ++l) {
    std::uint32_t columns = 0;
    for (std::size_t t = 0; t < targets_count; ++t) {
      const auto& pair = from.layers[l][t];
      if (pair.rank == 0) continue;
      const auto which = static_cast<target>(t);
      auto& product = products_[l * matrices_count + static_cast<std::size_t>(product_of(which))];
      const std::size_t a_size = std::size_t{pair.rank} * pair.in,
                        b_size = std::size_t{pair.rank} * pair.out;
      const lora_target made{
          which,   pair.rank,        pair.in, pair.out,      pair.scale,
          numbers, numbers + a_size, plain,   product.ranks, first_output(shape, which)};
      numbers += a_size + b_size;
      plain += b_size;
      product.in = pair.in;
      product.ranks += pair.rank;
      product.targets.push_back(made);
      by_layer_[l].push_back(made);
    }
    for (std::size_t m = 0; m < matrices_count; ++m) {
      auto& product = products_[l * matrices_count + m];
      product.column = columns;
      product.turned_a = turned;
      columns += product.ranks;
      turned += std::size_t{product.in} * product.ranks;
      product_ranks_ = std::max(product_ranks_, product.ranks);
    }
    row_ranks_ = std::max(row_ranks_, columns);
  }
  values_.resize(numbers);
  plain_b_.resize(plain);
  turned_a_.resize(turned);
  take(from);
}

std::span<const lora_target> lora_set::targets(std::uint32_t layer) const {
  return by_layer_[layer];
}

bool lora_set::same_shape(const adapter& other) const {
  if (other.layers.size() != by_layer_.size()) return false;
  for (std::size_t l = 0; l < by_layer_.size(); ++l) {
    std::size_t at = 0;
    for (std::size_t t = 0; t < targets_count; ++t) {
      const auto& pair = other.layers[l][t];
      if (pair.rank == 0) continue;
      if (at == by_layer_[l].size()) return false;
      const auto& ours = by_layer_[l][at++];
      if (static_cast<std::size_t>(ours.which) != t || ours.rank != pair.rank ||
          ours.in != pair.in || ours.out != pair.out || ours.scale != pair.scale)
        return false;
    }
    if (at != by_layer_[l].size()) return false;
  }
  return true;
}

void lora_set::take(const adapter& from) {
  for (std::uint32_t l = 0; l < layers(); ++l)
    for (const auto& t : by_layer_[l]) {
      const auto& pair = from.layers[l][static_cast<std::size_t>(t.which)];
      std::copy(pair.a.begin(), pair.a.end(), values_.begin() + static_cast<std::ptrdiff_t>(t.a));
      for (std::size_t o = 0; o < t.out; ++o)
        for (std::size_t j = 0; j < t.rank; ++j)
          values_[t.b + j * t.out + o] = pair.b[o * t.rank + j];
    }
  refresh();
}

void lora_set::refresh() {
  for (std::uint32_t l = 0; l < layers(); ++l)
    for (std::size_t m = 0; m < matrices_count; ++m) {
      const auto& product = products_[l * matrices_count + m];
      for (const auto& t : product.targets) {
        for (std::size_t j = 0; j < t.rank; ++j)
          for (std::size_t k = 0; k < t.in; ++k)
            turned_a_[product.turned_a + k * product.ranks + t.column + j] =
                values_[t.a + j * t.in + k];
        for (std::size_t j = 0; j < t.rank; ++j)
          for (std::size_t o = 0; o < t.out; ++o)
            plain_b_[t.plain_b + o * t.rank + j] = values_[t.b + j * t.out + o];
      }
    }
}

adapter_ptr lora_set::sealed() const {
  auto made = std::make_shared<adapter>();
  made->layers.resize(by_layer_.size());
  for (std::uint32_t l = 0; l < layers(); ++l)
    for (const auto& t : by_layer_[l]) {
      auto& pair = made->layers[l][static_cast<std::size_t>(t.which)];
      pair.rank = t.rank;
      pair.in = t.in;
      pair.out = t.out;
      pair.scale = t.scale;
      const float *a = values_.data() + t.a, *b = plain_b_.data() + t.plain_b;
      pair.a.assign(a, a + std::size_t{t.rank} * t.in);
      pair.b.assign(b, b + std::size_t{t.rank} * t.out);
    }
  seal(*made);
  return made;
}

}  // namespace collm::engine
