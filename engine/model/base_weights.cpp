#include "engine/model/base_weights.hpp"

#include <algorithm>

namespace collm::engine {
namespace {

/// Hands out aligned pieces of the image in a fixed order: that order is the file format.
class placer {
 public:
  explicit placer(const std::uint8_t* image) : image_(image) {}
  template <class T>
  const T* place(std::uint64_t count) {
    const auto* at = image_ == nullptr ? nullptr : image_ + bytes_;
    bytes_ += (count * sizeof(T) + row_alignment - 1) / row_alignment * row_alignment;
    return reinterpret_cast<const T*>(at);
  }
  std::uint64_t bytes() const { return bytes_; }

 private:
  const std::uint8_t* image_;
  std::uint64_t bytes_ = 0;
};

linear_weights place_linear(placer& at, precision p, std::uint32_t out, std::uint32_t in,
                            std::uint32_t hi, bool four_bit = false) {
  linear_weights l;
  l.s8.in = in;
  l.s8.out = out;
  l.s8.four_bit = four_bit;
  if (p == precision::f32) {
    l.f32 = at.place<float>(std::uint64_t{out} * in);
    return l;
  }
  l.s8.hi = hi;
  if (l.s8.whole()) l.s8.hi_shift = whole_shift(in);
  l.s8.tiles = at.place<std::int8_t>(l.s8.tiles_count() * l.s8.tile_bytes());
  l.s8.hi_index = at.place<std::uint32_t>(l.s8.hi);
  l.s8.scale = at.place<float>(out);
  l.s8.correction = at.place<std::int32_t>(out);
  return l;
}

std::uint32_t hidden(const model_shape& s) { return s.hidden; }
std::uint32_t post_norm(const model_shape& s) { return s.post_norms ? s.hidden : 0; }
std::uint32_t head_norm(const model_shape& s) { return s.head_norms ? s.head_dim : 0; }
std::uint32_t q_bias(const model_shape& s) { return s.qkv_bias ? s.heads * s.head_dim : 0; }
std::uint32_t kv_bias(const model_shape& s) { return s.qkv_bias ? s.kv_heads * s.head_dim : 0; }

constexpr layer_vector vectors[] = {
    {&layer_weights::attention_norm, "attn_norm.weight", hidden, true},
    {&layer_weights::ffn_norm, "ffn_norm.weight", hidden, true},
    {&layer_weights::post_attention_norm, "post_attention_norm.weight", post_norm, true},
    {&layer_weights::post_ffn_norm, "post_ffw_norm.weight", post_norm, true},
    {&layer_weights::q_norm, "attn_q_norm.weight", head_norm, true},
    {&layer_weights::k_norm, "attn_k_norm.weight", head_norm, true},
    {&layer_weights::q_bias, "attn_q.bias", q_bias, false},
    {&layer_weights::k_bias, "attn_k.bias", kv_bias, false},
    {&layer_weights::v_bias, "attn_v.bias", kv_bias, false},
};

}  // namespace

std::span<const layer_vector> layer_vectors() { return vectors; }

std::uint32_t outlier_columns(std::uint32_t in) {
  // One input in sixteen, in steps of sixteen bytes; measured in docs/adr/0001-int8-activations.md.
  return std::min({(in / 16 + 15) / 16 * 16, in / 4 * 4, hi_columns_max});
}

std::pair<std::uint32_t, std::uint32_t> product_shape(const model_shape& s, matrix m) {
  switch (m) {
    case matrix::qkv:
      return {(s.heads + 2 * s.kv_heads) * s.head_dim, s.hidden};
    case matrix::o:
      return {s.hidden, s.heads * s.head_dim};
    case matrix::gate_up:
      return {2 * s.ffn, s.hidden};
    case matrix::down:
      return {s.hidden, s.ffn};
  }
  return {0, 0};
}

std::vector<product_part> product_parts(const model_shape& s, std::uint32_t layer, matrix m) {
  const std::string prefix = "blk." + std::to_string(layer) + ".";
  switch (m) {
    case matrix::qkv:
      return {{prefix + "attn_q.weight", s.heads * s.head_dim, true},
              {prefix + "attn_k.weight", s.kv_heads * s.head_dim, true},
              {prefix + "attn_v.weight", s.kv_heads * s.head_dim}};
    case matrix::o:
      return {{prefix + "attn_output.weight", s.hidden}};
    case matrix::gate_up:
      return {{prefix + "ffn_gate.weight", s.ffn}, {prefix + "ffn_up.weight", s.ffn}};
    case matrix::down:
      return {{prefix + "ffn_down.weight", s.hidden}};
  }
  return {};
}

bool has_four_bits(const model_shape& s, std::uint32_t layer, matrix m) {
  return layer < s.four_bit.size() && (s.four_bit[layer] >> static_cast<unsigned>(m) & 1) != 0;
}

base_weights bind_weights(const model_shape& shape, precision p, const std::uint8_t* image,
                          std::uint64_t& bytes) {
  placer at(image);
  base_weights w;
  w.layers.resize(shape.layers);
  for (auto& layer : w.layers) {
    for (const auto& v : layer_vectors())
      if (const auto size = v.size(shape); size > 0) layer.*v.at = at.place<float>(size);
    for (std::size_t m = 0; m < matrices_count; ++m) {
      const auto [out, in] = product_shape(shape, static_cast<matrix>(m));
      // The outliers of `down` change with the token, so all its inputs get high bits.
      const bool whole = static_cast<matrix>(m) == matrix::down;
      const auto l = static_cast<std::size_t>(&layer - w.layers.data());
      const bool four_bit = !shape.wide && has_four_bits(shape, static_cast<std::uint32_t>(l),
                                                         static_cast<matrix>(m));
      layer.products[m] = place_linear(at, p, out, in, whole ? in : outlier_columns(in), four_bit);
    }
  }
  w.output_norm = at.place<float>(shape.hidden);
  const std::uint32_t hi = outlier_columns(shape.hidden);
  w.embedding = place_linear(at, p, shape.vocab, shape.hidden, hi);
  w.head = shape.tied_embeddings ? w.embedding : place_linear(at, p, shape.vocab, shape.hidden, hi);
  bytes = at.bytes();
  return w;
}

}  // namespace collm::engine
