#include "engine/model/tensor_reader.hpp"

#include <algorithm>
#include <cmath>

#include "engine/model/architecture.hpp"

namespace collm::engine {

void tensor_reader::row(const gguf_tensor& t, std::uint64_t index, std::uint32_t in,
                        const float* to) {
  const std::span<float> values(fill(to), in);
  dequantise(t, index * in, in, values.data());
  const auto odd = std::ranges::find_if_not(values, [](float v) { return std::isfinite(v); });
  if (odd == values.end()) return;
  const auto element = index * in + static_cast<std::uint64_t>(odd - values.begin());
  if (wrong_.empty())
    wrong_ = "tensor '" + t.name + "': element " + std::to_string(element) + " is NaN or infinite";
  std::ranges::fill(values, 0.0f);
}

void tensor_reader::vector(const std::string& name, std::uint32_t n, const float* to) {
  if (const auto* t = find(name, {n})) row(*t, 0, n, to);
}

void tensor_reader::norm(const std::string& name, std::uint32_t n, const float* to, float factor) {
  vector(name, n, to);
  for (std::uint32_t i = 0; i < n; ++i) fill(to)[i] = (to[i] + layout_.norm_shift) * factor;
}

void tensor_reader::matrix(const std::string& name, std::uint32_t out, std::uint32_t in,
                           const float* to) {
  const auto* t = find(name, {in, out});
  for (std::uint32_t o = 0; t != nullptr && o < out; ++o)
    row(*t, o, in, to + std::uint64_t{o} * in);
}

/// Rows of q or k, in Hugging Face's order.
void tensor_reader::turned(const std::string& name, std::uint32_t out, std::uint32_t in,
                           const float* to) {
  if (!layout_.interleaved_rotary) return matrix(name, out, in, to);
  const auto* t = find(name, {in, out});
  for (std::uint32_t o = 0; t != nullptr && o < out; ++o)
    row(*t, interleaved_row(o, shape_.head_dim), in, to + std::uint64_t{o} * in);
}

void tensor_reader::rows(const std::string& name, std::uint32_t out, std::uint32_t in,
                         std::span<const std::int32_t> which, const float* to) {
  const auto* t = find(name, {in, out});
  for (std::size_t i = 0; t != nullptr && i < which.size(); ++i)
    row(*t, static_cast<std::uint64_t>(which[i]), in, to + i * in);
}

void tensor_reader::each_row(const std::string& name, std::uint32_t out, std::uint32_t in,
                             const std::function<void(std::uint32_t, const float*)>& take) {
  const auto* t = find(name, {in, out});
  const std::vector<float> values(in);
  for (std::uint32_t o = 0; t != nullptr && o < out; ++o) {
    row(*t, o, in, values.data());
    take(o, values.data());
  }
}

void tensor_reader::layer(std::uint32_t index, const layer_weights& to) {
  const auto& s = shape_;
  const std::string prefix = "blk." + std::to_string(index) + ".";
  for (const auto& v : layer_vectors()) {
    const auto size = v.size(s);
    const bool queries = v.at == &layer_weights::q_norm;
    if (size > 0 && v.norm)
      norm(prefix + v.name, size, to.*v.at, queries ? layout_.query_factor : 1);
    else if (size > 0)
      vector(prefix + v.name, size, to.*v.at);
  }
  const std::uint32_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  const float* qkv = to.of(engine::matrix::qkv).f32;
  turned(prefix + "attn_q.weight", q, s.hidden, qkv);
  turned(prefix + "attn_k.weight", kv, s.hidden, qkv + std::uint64_t{q} * s.hidden);
  matrix(prefix + "attn_v.weight", kv, s.hidden, qkv + std::uint64_t{q + kv} * s.hidden);
  matrix(prefix + "attn_output.weight", s.hidden, q, to.of(engine::matrix::o).f32);
  const float* gate_up = to.of(engine::matrix::gate_up).f32;
  matrix(prefix + "ffn_gate.weight", s.ffn, s.hidden, gate_up);
  matrix(prefix + "ffn_up.weight", s.ffn, s.hidden, gate_up + std::uint64_t{s.ffn} * s.hidden);
  matrix(prefix + "ffn_down.weight", s.hidden, s.ffn, to.of(engine::matrix::down).f32);
}

result<void> tensor_reader::finish() const {
  if (!wrong_.empty()) return error{errc::bad_request, wrong_, 0};
  for (const auto& [name, t] : tensors_)
    if (!used_.contains(name))
      return error{errc::bad_request,
                   "tensor '" + name + "' is not part of architecture " + shape_.architecture +
                       " as built here",
                   0};
  return {};
}

const gguf_tensor* tensor_reader::find(const std::string& name,
                                       const std::vector<std::uint64_t>& dims) {
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

}  // namespace collm::engine
