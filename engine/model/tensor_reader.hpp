// Tensors of a model file as f32 in the order and form of the packed base; remembers the first that
// is wrong. What is missing, misshapen or not finite gives zeros until finish() says so. One
// thread.
#pragma once

#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "engine/model/base_weights.hpp"
#include "engine/model/model_source.hpp"

namespace collm::engine {

/// An image is filled through the pointers that bind_weights gave as const views.
template <class T>
T* fill(const T* p) {
  return const_cast<T*>(p);
}

class tensor_reader {
 public:
  /// `over` is asked before each tensor; from the first true on all are zeros.
  tensor_reader(const model_source& from, const model_shape& shape, std::function<bool()> over)
      : tensors_(from.tensors()), layout_(from.layout()), shape_(shape), over_(std::move(over)) {}

  /// Every tensor of decoder layer `index`.
  void layer(std::uint32_t index, const layer_weights& to);
  /// Scales of the four bits of a product's output o, one for each 32 inputs.
  std::vector<affine_scale> scales(std::uint32_t layer, engine::matrix m, std::uint32_t o);
  /// A norm's whole gains: [n], times `factor`.
  void norm(const std::string& name, std::uint32_t n, const float* to, float factor = 1);
  /// [out, in]
  void matrix(const std::string& name, std::uint32_t out, std::uint32_t in, const float* to);
  /// These rows of [out, in]: [rows, in].
  void rows(const std::string& name, std::uint32_t out, std::uint32_t in,
            std::span<const std::int32_t> which, const float* to);
  /// Row after row of [out, in], for what is too large to be held in f32.
  void each_row(const std::string& name, std::uint32_t out, std::uint32_t in,
                const std::function<void(std::uint32_t o, const float* row)>& take);
  bool stopped() const { return stopped_; }
  /// Refuses by name what was wrong, or what nobody asked for; cancelled: it was stopped.
  result<void> finish() const;

 private:
  void vector(const std::string& name, std::uint32_t n, const float* to);
  void part(const product_part& part, std::uint32_t in, const float* to);
  /// Where row o of a part stands in the file.
  std::uint64_t source_row(const product_part& part, std::uint32_t o) const;
  void row(const gguf_tensor& t, std::uint64_t index, std::uint32_t in, const float* to);
  const gguf_tensor* find(const std::string& name, const std::vector<std::uint64_t>& dims);

  const std::map<std::string, gguf_tensor>& tensors_;
  const tensor_layout layout_;
  const model_shape& shape_;
  const std::function<bool()> over_;
  std::set<std::string> used_;
  std::string wrong_;
  bool stopped_ = false;
};

}  // namespace collm::engine
