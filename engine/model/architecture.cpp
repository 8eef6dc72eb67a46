#include "engine/model/architecture.hpp"

#include <cmath>

namespace collm::engine {
namespace {

// llama: arXiv 2302.13971; qwen2: 2407.10671; qwen3: 2505.09388; gemma3: 2503.19786.
constexpr architecture built[] = {
    {.name = "llama",
     .hugging_face = "llama",
     .gate = gate_kind::silu,
     .qkv_bias = false,
     .head_norms = false,
     .post_norms = false,
     .scaled_embedding = false,
     .interleaved_in_gguf = true,
     .shifted_norms = false,
     .window_pattern = 0},
    {.name = "qwen2",
     .hugging_face = "qwen2",
     .gate = gate_kind::silu,
     .qkv_bias = true,
     .head_norms = false,
     .post_norms = false,
     .scaled_embedding = false,
     .interleaved_in_gguf = false,
     .shifted_norms = false,
     .window_pattern = 0},
    {.name = "qwen3",
     .hugging_face = "qwen3",
     .gate = gate_kind::silu,
     .qkv_bias = false,
     .head_norms = true,
     .post_norms = false,
     .scaled_embedding = false,
     .interleaved_in_gguf = false,
     .shifted_norms = false,
     .window_pattern = 0},
    {.name = "gemma3",
     .hugging_face = "gemma3_text",
     .gate = gate_kind::gelu_tanh,
     .qkv_bias = false,
     .head_norms = true,
     .post_norms = true,
     .scaled_embedding = true,
     .interleaved_in_gguf = false,
     .shifted_norms = true,
     .window_pattern = 6},
};

std::string joined(const char* architecture::*name) {
  std::string names;
  for (const auto& a : built) names += (names.empty() ? "" : ", ") + std::string(a.*name);
  return names;
}

error wrong(const std::string& field, std::uint32_t is, const std::string& expected) {
  return {errc::bad_request,
          "model shape: " + field + " is " + std::to_string(is) + "; expected " + expected, 0};
}

}  // namespace

const architecture* architecture_named(std::string_view gguf_name) {
  for (const auto& a : built)
    if (gguf_name == a.name) return &a;
  return nullptr;
}

const architecture* architecture_of_hugging_face(std::string_view model_type) {
  for (const auto& a : built)
    if (model_type == a.hugging_face) return &a;
  return nullptr;
}

std::string architecture_names() { return joined(&architecture::name); }
std::string hugging_face_names() { return joined(&architecture::hugging_face); }

void apply(const architecture& a, model_shape& s) {
  s.architecture = a.name;
  s.gate = a.gate;
  s.qkv_bias = a.qkv_bias;
  s.head_norms = a.head_norms;
  s.post_norms = a.post_norms;
  if (a.scaled_embedding) s.embedding_scale = std::sqrt(static_cast<float>(s.hidden));
}

std::uint32_t interleaved_row(std::uint32_t row, std::uint32_t head_dim) {
  const std::uint32_t within = row % head_dim, half = head_dim / 2;
  return row - within + (within < half ? 2 * within : 2 * (within - half) + 1);
}

result<void> check_shape(const model_shape& s) {
  if (s.vocab == 0) return wrong("vocab", s.vocab, "the rows of the embedding");
  if (s.head_dim == 0 || s.head_dim % 2 != 0)
    return wrong("head_dim", s.head_dim, "an even number");
  if (s.kv_heads == 0 || s.heads % s.kv_heads != 0)
    return wrong("kv_heads", s.kv_heads, "a divisor of heads, " + std::to_string(s.heads));
  if (s.window != 0 && s.window_pattern == 0)
    return wrong("window_pattern", 0, "at least 1 where layers have a window");
  return {};
}

}  // namespace collm::engine
