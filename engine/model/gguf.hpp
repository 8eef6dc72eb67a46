// GGUF v2/v3 files: metadata and tensor directory over a read-only mapping, every offset checked.
// No torch: part of engine_api.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "engine/engine.hpp"
#include "messages/result.hpp"
#include "text/vocabulary.hpp"

namespace collm::engine {

/// ggml's numbers.
enum class tensor_type : std::uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  bf16 = 30
};

struct gguf_tensor {
  std::string name;
  tensor_type type;
  std::vector<std::uint64_t> dims;  ///< GGUF order: dims[0] = elements of a row
  std::span<const std::uint8_t> bytes;
};

class gguf_file {
 public:
  using value =
      std::variant<std::uint64_t, std::int64_t, double, bool, std::string,
                   std::vector<std::int64_t>, std::vector<double>, std::vector<std::string>>;
  static result<std::shared_ptr<const gguf_file>> open(const std::filesystem::path& path);
  ~gguf_file();
  const value* find(const std::string& key) const;
  const gguf_tensor* tensor(const std::string& name) const;
  const std::map<std::string, gguf_tensor>& tensors() const;
  result<model_shape> shape() const;  ///< refuses an unknown architecture by name
  result<text::vocabulary> vocabulary() const;
  std::string sha256() const;  ///< hex digest of the whole file

 private:
  struct impl;
  explicit gguf_file(std::unique_ptr<impl> state);
  std::unique_ptr<impl> impl_;
};

/// Dequantises `count` elements starting at element `first` (both multiples of the type's block) to
/// f32.
void dequantise(const gguf_tensor& t, std::uint64_t first, std::uint64_t count, float* out);

/// A weight of a type with four bits is scale * level + shift, level of 0..15, alike for 32
/// weights.
struct affine_scale {
  float scale = 0, shift = 0;
};
bool has_four_bits(tensor_type type);
/// Of the same elements as dequantise(), which must have four bits; one for each 32.
std::vector<affine_scale> affine_scales(const gguf_tensor& t, std::uint64_t first,
                                        std::uint64_t count);

}  // namespace collm::engine
