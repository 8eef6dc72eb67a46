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

/// Rotary rows in Hugging Face's order.
std::uint64_t tensor_reader::source_row(const product_part& part, std::uint32_t o) const {
  const bool pairs = part.rotary && layout_.interleaved_rotary;
  return pairs ? interleaved_row(o, shape_.head_dim) : o;
}

void tensor_reader::part(const product_part& part, std::uint32_t in, const float* to) {
  const auto* t = find(part.tensor, {in, part.rows});
  for (std::uint32_t o = 0; t != nullptr && o < part.rows; ++o)
    row(*t, source_row(part, o), in, to + std::uint64_t{o} * in);
}

std::vector<affine_scale> tensor_reader::scales(std::uint32_t layer, engine::matrix m,
                                                std::uint32_t o) {
  const auto in = product_shape(shape_, m).second;
  for (const auto& part : product_parts(shape_, layer, m)) {
    if (o < part.rows) {
      const auto* t = find(part.tensor, {in, part.rows});
      if (t == nullptr) break;
      return affine_scales(*t, source_row(part, o) * in, in);
    }
    o -= part.rows;
  }
  return std::vector<affine_scale>(in / four_bit_inputs);
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
  for (std::size_t m = 0; m < matrices_count; ++m) {
    const auto in = product_shape(s, static_cast<engine::matrix>(m)).second;
    const float* at = to.products[m].f32;
    for (const auto& piece : product_parts(s, index, static_cast<engine::matrix>(m))) {
      part(piece, in, at);
      at += std::uint64_t{piece.rows} * in;
    }
  }
}

result<void> tensor_reader::finish() const {
  if (stopped_) return error{errc::cancelled, "packing was stopped", 0};
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
  stopped_ = stopped_ || over_();
  if (stopped_) return nullptr;
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
