#include "engine/model/pack.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>

#include "engine/model/architecture.hpp"
#include "engine/model/calibrate.hpp"

namespace collm::engine {
namespace {

/// The image is filled through pointers that bind_weights gave as const views.
template <class T>
T* fill(const T* p) {
  return const_cast<T*>(p);
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

/// Copies tensors out of the file and remembers the first that is wrong.
class tensor_reader {
 public:
  tensor_reader(const model_source& from, const model_shape& shape)
      : tensors_(from.tensors()), layout_(from.layout()), shape_(shape) {}

  void vector(const std::string& name, std::uint32_t n, const float* to) {
    const auto* t = find(name, {n});
    if (t == nullptr) return;
    dequantise(*t, 0, n, fill(to));
    check_finite(name, {to, n});
  }
  /// A norm's gains, times `factor`.
  void norm(const std::string& name, std::uint32_t n, const float* to, float factor = 1) {
    vector(name, n, to);
    for (std::uint32_t i = 0; i < n; ++i) fill(to)[i] = (to[i] + layout_.norm_shift) * factor;
  }
  void matrix(const std::string& name, std::uint32_t out, std::uint32_t in, const float* to,
              bool rotary = false) {
    const auto* t = find(name, {in, out});
    for (std::uint32_t o = 0; t != nullptr && o < out; ++o) {
      const std::uint64_t from =
          rotary && layout_.interleaved_rotary ? interleaved_row(o, shape_.head_dim) : o;
      dequantise(*t, from * in, in, fill(to) + std::uint64_t{o} * in);
    }
    if (t != nullptr) check_finite(name, {to, std::uint64_t{out} * in});
  }
  float query_factor() const { return layout_.query_factor; }
  result<void> finish() const {
    if (!wrong_.empty()) return error{errc::bad_request, wrong_, 0};
    for (const auto& [name, t] : tensors_)
      if (!used_.contains(name))
        return error{errc::bad_request,
                     "tensor '" + name + "' is not part of architecture " + shape_.architecture +
                         " as built here",
                     0};
    return {};
  }

 private:
  void check_finite(const std::string& name, std::span<const float> values) {
    const auto odd = std::ranges::find_if_not(values, [](float v) { return std::isfinite(v); });
    if (odd != values.end() && wrong_.empty())
      wrong_ = "tensor '" + name + "': element " + std::to_string(odd - values.begin()) +
               " is NaN or infinite";
  }
  const gguf_tensor* find(const std::string& name, const std::vector<std::uint64_t>& dims) {
    const auto found = tensors_.find(name);
    const auto* t = found == tensors_.end() ? nullptr : &found->second;
    used_.insert(name);
    if (t != nullptr && t->dims == dims) return t;
    std::string expected;
    for (auto d : dims) expected += (expected.empty() ? "" : ", ") + std::to_string(d);
    if (wrong_.empty())
      wrong_ = "tensor '" + name + "' is " + (t == nullptr ? "missing" : "of another shape") +
               "; expected [" + expected + "]";
    return nullptr;
  }
  const std::map<std::string, gguf_tensor>& tensors_;
  const tensor_layout layout_;
  const model_shape& shape_;
  std::set<std::string> used_;
  std::string wrong_;
};

void read_layer(tensor_reader& from, const model_shape& s, std::uint32_t index,
                const layer_weights& to) {
  const std::string prefix = "blk." + std::to_string(index) + ".";
  for (const auto& v : layer_vectors()) {
    const auto size = v.size(s);
    const bool queries = v.at == &layer_weights::q_norm;
    if (size > 0 && v.norm)
      from.norm(prefix + v.name, size, to.*v.at, queries ? from.query_factor() : 1);
    else if (size > 0)
      from.vector(prefix + v.name, size, to.*v.at);
  }
  const std::uint32_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  const float* qkv = to.of(matrix::qkv).f32;
  from.matrix(prefix + "attn_q.weight", q, s.hidden, qkv, true);
  from.matrix(prefix + "attn_k.weight", kv, s.hidden, qkv + std::uint64_t{q} * s.hidden, true);
  from.matrix(prefix + "attn_v.weight", kv, s.hidden, qkv + std::uint64_t{q + kv} * s.hidden);
  from.matrix(prefix + "attn_output.weight", s.hidden, q, to.of(matrix::o).f32);
  const float* gate_up = to.of(matrix::gate_up).f32;
  from.matrix(prefix + "ffn_gate.weight", s.ffn, s.hidden, gate_up);
  from.matrix(prefix + "ffn_up.weight", s.ffn, s.hidden, gate_up + std::uint64_t{s.ffn} * s.hidden);
  from.matrix(prefix + "ffn_down.weight", s.hidden, s.ffn, to.of(matrix::down).f32);
}

/// One output row: its scale, its bytes, its outlier columns again, and what the activations' bias
/// adds to its sums.
void quantise_weights(const float* row, const linear_s8& to, std::uint32_t o) {
  float most = 0;
  for (std::uint32_t k = 0; k < to.in; ++k) most = std::max(most, std::fabs(row[k]));
  // Of denormal weights the inverse would be infinite; a row of them adds nothing to any sum.
  if (most <= 127.0f / std::numeric_limits<float>::max()) most = 0;
  const float scale = most / 127.0f, inverse = most > 0 ? 127.0f / most : 0.0f;
  auto* w = fill(to.tiles);
  std::int32_t sum = 0, sum_hi = 0;
  for (std::uint32_t k = 0; k < to.in; ++k)
    sum += w[to.at(o, k)] = static_cast<std::int8_t>(std::nearbyint(row[k] * inverse));
  for (std::uint32_t j = 0; j < to.hi; ++j)
    sum_hi += w[to.at_hi(o, j)] = w[to.at(o, to.hi_index[j])];
  fill(to.scale)[o] = scale;
  // Modulo 2^32, as the sums that it corrects.
  fill(to.correction)[o] =
      static_cast<std::int32_t>(128u * static_cast<std::uint32_t>(sum) +
                                (128u << to.hi_shift) * static_cast<std::uint32_t>(sum_hi));
}

void quantise_linear(const linear_weights& from, const std::vector<std::uint32_t>& outliers,
                     const linear_s8& to) {
  auto* index = fill(to.hi_index);
  if (to.whole())
    std::iota(index, index + to.hi, 0u);
  else
    std::memcpy(index, outliers.data(), to.hi * sizeof(std::uint32_t));
  for (std::uint32_t o = 0; o < to.out; ++o)
    quantise_weights(from.f32 + std::uint64_t{o} * to.in, to, o);
}

}  // namespace

std::shared_ptr<const packed_base> packed_image::as_base() const {
  return std::make_shared<const packed_base>(facts, memory, std::span(memory.get(), bytes),
                                             memory.get());
}

result<packed_image> pack_f32(const model_source& source, std::string digest) {
  auto shape = source.shape();
  if (!shape) return shape.failure();
  auto vocabulary = source.vocabulary();
  if (!vocabulary) return vocabulary.failure();
  if (vocabulary->tokens.size() != shape->vocab)
    return error{errc::bad_request,
                 std::to_string(vocabulary->tokens.size()) + " tokens but " +
                     std::to_string(shape->vocab) + " embeddings",
                 0};
  auto image = make_image({*shape, precision::f32, std::move(digest), std::move(*vocabulary)});
  if (!image) return image.failure();
  const auto& s = image->facts.shape;
  const auto weights = views(*image);
  tensor_reader from(source, s);
  for (std::uint32_t l = 0; l < s.layers; ++l) read_layer(from, s, l, weights.layers[l]);
  from.norm("output_norm.weight", s.hidden, weights.output_norm);
  from.matrix("token_embd.weight", s.vocab, s.hidden, weights.embedding.f32);
  if (!s.tied_embeddings) from.matrix("output.weight", s.vocab, s.hidden, weights.head.f32);
  if (auto done = from.finish(); !done) return done.failure();
  return image;
}

result<packed_image> pack_int8(const packed_image& f32) {
  auto facts = f32.facts;
  facts.precision = precision::int8;
  const auto& s = facts.shape;
  if (std::max({s.hidden, s.ffn, s.heads * s.head_dim}) > inputs_max)
    return error{errc::bad_request,
                 "int8 products take at most " + std::to_string(inputs_max) + " inputs; use f32",
                 0};
  auto image = make_image(std::move(facts));
  if (!image) return image.failure();
  const auto from = views(f32), to = views(*image);
  const auto outliers = calibrate(f32.as_base());
  const auto copy = [](const float* vector, const float* target, std::uint32_t size) {
    if (size > 0) std::memcpy(fill(target), vector, sizeof(float) * size);
  };
  for (std::uint32_t l = 0; l < s.layers; ++l) {
    for (const auto& v : layer_vectors()) copy(from.layers[l].*v.at, to.layers[l].*v.at, v.size(s));
    for (std::size_t m = 0; m < matrices_count; ++m)
      quantise_linear(from.layers[l].products[m], outliers.layers[l][m],
                      to.layers[l].products[m].s8);
  }
  copy(from.output_norm, to.output_norm, s.hidden);
  quantise_linear(from.head, outliers.head, to.head.s8);
  if (!s.tied_embeddings) quantise_linear(from.embedding, outliers.head, to.embedding.s8);
  return image;
}

}  // namespace collm::engine
