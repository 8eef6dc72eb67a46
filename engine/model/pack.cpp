#include "engine/model/pack.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "engine/model/calibrate.hpp"
#include "engine/model/tensor_reader.hpp"

namespace collm::engine {
namespace {

result<base_facts> facts_of(const model_source& source, precision p, std::string digest) {
  auto shape = source.shape();
  if (!shape) return shape.failure();
  auto vocabulary = source.vocabulary();
  if (!vocabulary) return vocabulary.failure();
  if (vocabulary->tokens.size() == shape->vocab)
    return base_facts{*shape, p, std::move(digest), std::move(*vocabulary)};
  return error{errc::bad_request,
               std::to_string(vocabulary->tokens.size()) + " tokens but " +
                   std::to_string(shape->vocab) + " embeddings",
               0};
}

result<packed_image> make_image(base_facts facts) {
  packed_image image;
  (void)bind_weights(facts.shape, facts.precision, nullptr, image.bytes);
  void* memory =
      ::mmap(nullptr, image.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return error{
        errc::io,
        "packing needs " + std::to_string(image.bytes >> 20) + " MiB of memory, which are not free",
        0};
  image.facts = std::move(facts);
  image.memory = {static_cast<std::uint8_t*>(memory),
                  [size = image.bytes](std::uint8_t* p) { ::munmap(p, size); }};
  return image;
}

base_weights views(const packed_image& image) {
  std::uint64_t bytes = 0;
  return bind_weights(image.facts.shape, image.facts.precision, image.memory.get(), bytes);
}

/// Weights of a row in int8, as they lie.
class row_writer {
 public:
  row_writer(const linear_s8& to, std::uint32_t o, float most)
      : to_(to), o_(o), inverse_(most > 0 ? 127.0f / most : 0.0f) {}

  void bytes(const float* row) const {
    for (std::uint32_t k = 0; k < to_.in; ++k)
      fill(to_.tiles)[to_.at(o_, k)] = static_cast<std::int8_t>(std::nearbyint(row[k] * inverse_));
  }
  /// Four bits: the levels of the source, and its scales in 1/256 of an int8 step, half a step up
  /// for rounding.
  void levels(const float* row, std::span<const affine_scale> scales) const {
    for (std::uint32_t k = 0; k < to_.in; ++k) {
      const auto& from = scales[k / four_bit_inputs];
      auto* block = fill(to_.tiles) + to_.at_block(o_, k);
      const std::uint32_t within = k % four_bit_inputs, output = o_ % tile_outputs;
      if (within == 0) {
        const auto scale = scale_of(from);
        std::memcpy(block + four_bit_levels_bytes + output * sizeof scale, &scale, sizeof scale);
      }
      auto& two = block[within / group_inputs % 4 * group_bytes + output * group_inputs +
                        within % group_inputs];
      two = static_cast<std::int8_t>(two | level_of(row[k], from) << (within < 16 ? 0 : 4));
    }
  }
  /// The int8 weights that levels() means, as bytes.
  void meant(const float* row, std::span<const affine_scale> scales) const {
    for (std::uint32_t k = 0; k < to_.in; ++k) {
      const auto& from = scales[k / four_bit_inputs];
      fill(to_.tiles)[to_.at(o_, k)] = scale_of(from).weight(level_of(row[k], from));
    }
  }

 private:
  four_bit_scale scale_of(const affine_scale& from) const {
    return {sixteen_bits(from.scale), sixteen_bits(from.shift, 128)};
  }
  static std::uint32_t level_of(float weight, const affine_scale& from) {
    const float level = from.scale != 0 ? std::nearbyint((weight - from.shift) / from.scale) : 0;
    return static_cast<std::uint32_t>(std::clamp(level, 0.0f, 15.0f));
  }
  /// Modulo 2^16: a level that does not occur may reach beyond, one that does cannot.
  std::uint16_t sixteen_bits(float value, std::int64_t more = 0) const {
    return static_cast<std::uint16_t>(std::llrint(value * inverse_ * 256.0f) + more);
  }
  const linear_s8& to_;
  const std::uint32_t o_;
  const float inverse_;
};

/// One output row: its scale, its weights, its outlier columns again, and what the activations'
/// bias adds to its sums.
void quantise_weights(const float* row, const linear_s8& to, std::uint32_t o,
                      std::span<const affine_scale> scales = {}) {
  float most = 0;
  for (std::uint32_t k = 0; k < to.in; ++k) most = std::max(most, std::fabs(row[k]));
  // Of denormal weights the inverse would be infinite; a row of them adds nothing to any sum.
  if (most <= 127.0f / std::numeric_limits<float>::max()) most = 0;
  const row_writer write(to, o, most);
  if (to.four_bit)
    write.levels(row, scales);
  else if (!scales.empty())
    write.meant(row, scales);
  else
    write.bytes(row);
  std::int32_t sum = 0, sum_hi = 0;
  for (std::uint32_t k = 0; k < to.in; ++k) sum += to.weight(o, k);
  for (std::uint32_t j = 0; j < to.hi; ++j) {
    const auto w = to.weight(o, to.hi_index[j]);
    if (!to.whole()) fill(to.tiles)[to.at_hi(o, j)] = w;
    sum_hi += w;
  }
  fill(to.scale)[o] = most / 127.0f;
  // Modulo 2^32, as the sums that it corrects.
  fill(to.correction)[o] =
      static_cast<std::int32_t>(128u * static_cast<std::uint32_t>(sum) +
                                (128u << to.hi_shift) * static_cast<std::uint32_t>(sum_hi));
}

void set_outliers(const linear_s8& to, const std::vector<std::uint32_t>& outliers) {
  auto* index = fill(to.hi_index);
  if (to.whole())
    std::iota(index, index + to.hi, 0u);
  else
    std::memcpy(index, outliers.data(), to.hi * sizeof(std::uint32_t));
}

/// Reads each layer when the pass comes to it and packs it when the pass has left it.
class layer_packer final : public input_observer {
 public:
  layer_packer(tensor_reader& from, const layer_weights& f32, const base_weights& to,
               const model_shape& shape)
      : from_(from), f32_(f32), to_(to), shape_(shape) {}

  bool layer_begins(std::uint32_t layer) override {
    if (layer > 0) pack(layer - 1);
    seen_ = {};
    from_.layer(layer, f32_);
    return !from_.stopped();
  }
  void layer_input(std::uint32_t, matrix m, const float* x, std::uint32_t in) override {
    seen_[static_cast<std::size_t>(m)].record(x, in);
  }
  void head_input(const float* x, std::uint32_t in) override { head_.record(x, in); }

  /// After a whole pass: the last layer, and what it saw of the head.
  std::vector<std::uint32_t> finish() {
    pack(shape_.layers - 1);
    return head_.outliers();
  }

 private:
  void pack(std::uint32_t layer) {
    const auto& to = to_.layers[layer];
    for (const auto& v : layer_vectors())
      if (const auto size = v.size(shape_); size > 0)
        std::memcpy(fill(to.*v.at), f32_.*v.at, sizeof(float) * size);
    for (std::size_t m = 0; m < matrices_count; ++m) {
      const auto& w = to.products[m].s8;
      set_outliers(w, seen_[m].outliers());
      for (std::uint32_t o = 0; o < w.out; ++o)
        quantise_weights(f32_.products[m].f32 + std::uint64_t{o} * w.in, w, o,
                         has_four_bits(shape_, layer, static_cast<matrix>(m))
                             ? from_.scales(layer, static_cast<matrix>(m), o)
                             : std::vector<affine_scale>());
    }
  }

  tensor_reader& from_;
  const layer_weights& f32_;
  const base_weights& to_;
  const model_shape& shape_;
  std::array<channel_magnitudes, matrices_count> seen_;
  channel_magnitudes head_;
};

/// A model of all layers in the memory of one, whose vocabulary is these tokens alone.
result<std::shared_ptr<const packed_base>> make_walk(tensor_reader& from, model_shape s,
                                                     std::span<const std::int32_t> tokens) {
  const auto layers = s.layers, vocab = s.vocab;
  s.layers = 1;
  s.vocab = static_cast<std::uint32_t>(tokens.size());
  s.tied_embeddings = true;
  const auto memory = make_image({s, precision::f32, {}, {}});
  if (!memory) return memory.failure();
  auto weights = views(*memory);
  weights.layers.assign(layers, layer_weights(weights.layers[0]));
  from.rows("token_embd.weight", vocab, s.hidden, tokens, weights.embedding.f32);
  from.norm("output_norm.weight", s.hidden, weights.output_norm);
  s.layers = layers;
  return std::make_shared<const packed_base>(base_facts{s, precision::f32, {}, {}}, memory->memory,
                                             std::move(weights));
}

}  // namespace

result<packed_image> pack_f32(const model_source& source, std::string digest,
                              const std::function<bool()>& over) {
  auto facts = facts_of(source, precision::f32, std::move(digest));
  if (!facts) return facts.failure();
  auto image = make_image(std::move(*facts));
  if (!image) return image.failure();
  const auto& s = image->facts.shape;
  const auto weights = views(*image);
  tensor_reader from(source, s, over);
  for (std::uint32_t l = 0; l < s.layers; ++l) from.layer(l, weights.layers[l]);
  from.norm("output_norm.weight", s.hidden, weights.output_norm);
  from.matrix("token_embd.weight", s.vocab, s.hidden, weights.embedding.f32);
  if (!s.tied_embeddings) from.matrix("output.weight", s.vocab, s.hidden, weights.head.f32);
  if (auto done = from.finish(); !done) return done.failure();
  return image;
}

result<packed_image> pack_int8(const model_source& source, std::string digest,
                               const std::function<bool()>& over) {
  auto facts = facts_of(source, precision::int8, std::move(digest));
  if (!facts) return facts.failure();
  if (std::max({facts->shape.hidden, facts->shape.ffn,
                facts->shape.heads * facts->shape.head_dim}) > inputs_max)
    return error{errc::bad_request,
                 "int8 products take at most " + std::to_string(inputs_max) + " inputs; use f32",
                 0};
  auto image = make_image(std::move(*facts));
  if (!image) return image.failure();
  const auto& s = image->facts.shape;
  const auto to = views(*image);
  tensor_reader from(source, s, over);
  const auto walk = make_walk(from, s, calibration_tokens(s));
  if (!walk) return walk.failure();
  layer_packer layers(from, (*walk)->weights().layers[0], to, s);
  calibrate(*walk, layers);
  if (from.stopped()) return from.finish().failure();
  const auto outliers = layers.finish();
  std::memcpy(fill(to.output_norm), (*walk)->weights().output_norm, sizeof(float) * s.hidden);
  const auto vocabulary = [&](const char* name, const linear_s8& w) {
    set_outliers(w, outliers);
    from.each_row(name, w.out, w.in,
                  [&](std::uint32_t o, const float* row) { quantise_weights(row, w, o); });
  };
  vocabulary("token_embd.weight", to.embedding.s8);
  if (!s.tied_embeddings) vocabulary("output.weight", to.head.s8);
  if (auto done = from.finish(); !done) return done.failure();
  return image;
}

}  // namespace collm::engine
