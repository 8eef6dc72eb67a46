// The engine library's facade: open a base, load adapters, make executors. No torch type crosses
// this header.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "engine/executor.hpp"
#include "engine/training.hpp"
#include "messages/result.hpp"
#include "text/vocabulary.hpp"

namespace collm::engine {

enum class precision : std::uint8_t {
  f32,   ///< the reference: libtorch products
  int8,  ///< the product: bit law holds
};

/// What multiplies the FFN's up half.
enum class gate_kind : std::uint8_t { silu, gelu_tanh };

/// Shape of a decoder, and what sets its architecture apart.
struct model_shape {
  std::string architecture;  ///< "llama", "qwen2", "qwen3" or "gemma3"
  std::uint32_t layers = 0, hidden = 0, ffn = 0, heads = 0, kv_heads = 0, head_dim = 0, vocab = 0,
                context = 0;
  float rope_theta = 10000.0f, norm_epsilon = 1e-5f;
  bool tied_embeddings = true;
  gate_kind gate = gate_kind::silu;
  bool qkv_bias = false, head_norms = false, post_norms = false;
  float embedding_scale = 1;
  /// Positions that a row of a windowed layer sees, its own included; 0: no layer is windowed.
  std::uint32_t window = 0;
  std::uint32_t window_pattern = 0;  ///< every n-th layer has no window
  float window_rope_theta = 10000.0f;
  /// By layer, bit m for product m (engine/model/base_weights.hpp): the source has four bits a
  /// weight, and so has an int8 base. Empty: none.
  std::vector<std::uint8_t> four_bit = {};
  /// Those weights lie in an int8 base as the bytes that they mean: faster where this processor
  /// does not widen them in registers (docs/adr/0007).
  bool wide = false;
  bool windowed(std::uint32_t layer) const {
    return window != 0 && (layer + 1) % window_pattern != 0;
  }
};

/// The frozen base: one read-only file mapping, shared by all engines of all processes on this
/// machine. Any thread.
class base {
 public:
  virtual ~base() = default;
  virtual const model_shape& shape() const = 0;
  virtual engine::precision precision() const = 0;
  virtual const std::string& digest() const = 0;  ///< sha256 hex of the source file
  virtual const text::vocabulary& vocabulary() const = 0;
  virtual const void* mapping()
      const = 0;  ///< first byte of the mapping; equal for all engines of a process
  virtual std::uint64_t mapping_bytes() const = 0;
};
using base_ptr = std::shared_ptr<const base>;

/// Opens a .gguf file or a Hugging Face folder. First time on a machine: packs it (seconds) into
/// `cache_dir`/<digest>-<precision>.base, atomically; later calls map that file. Two calls for one
/// file in a process return the same object. Unknown architecture or tensor type, or a damaged
/// file: refused by name. `over` is asked before each tensor that is packed; true: cancelled, and
/// nothing is left behind. While another process packs the same, that is waited for.
result<base_ptr> open_base(
    const std::filesystem::path& source, precision p, const std::filesystem::path& cache_dir,
    const std::function<bool()>& over = [] { return false; });

/// A PEFT folder (adapter_config.json, adapter_model.safetensors) as LoRA factors for `b`. A bad
/// one is refused with the tensor's name and what would be right.
result<adapter_ptr> load_peft(const base& b, const std::filesystem::path& folder);

/// The initial version of a new adapter: A from `seed`, B = 0, so that it answers as the base does,
/// through the LoRA path. targets: of q, k, v, o, gate, up, down.
result<adapter_ptr> initial_adapter(const base& b, std::uint32_t rank, float alpha,
                                    const std::vector<std::string>& targets, std::uint64_t seed);

const std::string& adapter_digest(const adapter& a);  ///< sha256 hex over config and tensors
std::uint64_t adapter_bytes(const adapter& a);
std::uint32_t adapter_rank(const adapter& a);  ///< largest over its targets

/// All matrices of a version in the one order of factors: by layer, then target (q k v o gate up
/// down), A before B. The spans live as long as `a`.
std::vector<factor> adapter_factors(const adapter& a);
/// A version shaped as `like` with other numbers: `values[i]` for the i-th of
/// adapter_factors(like). bad_request names a matrix whose size is wrong or that holds no finite
/// number.
result<adapter_ptr> adapter_with_factors(const adapter& like,
                                         std::span<const std::span<const float>> values);

class phase_clock;

struct executor_options {
  std::uint64_t kv_bytes = 256ull << 20;
  std::uint32_t threads = 1;            ///< OpenMP threads of this engine
  std::uint32_t step_tokens_max = 512;  ///< most rows of one step (bounds activations)
  std::uint32_t sequences_max = 64;
  phase_clock* clock = nullptr;  ///< told the phases of every step; outlives the executor
};

/// KV cache bytes of one token: the f32 reference keeps it in f32, int8 in half precision.
inline std::uint64_t kv_token_bytes(const model_shape& s, precision p) {
  const std::uint64_t number_bytes = p == precision::f32 ? 4 : 2;
  return 2 * number_bytes * s.layers * s.kv_heads * s.head_dim;
}

/// One engine's mutable half: KV cache, sequences, resident versions. Used by one thread.
result<std::unique_ptr<executor>> make_executor(base_ptr b, executor_options options);

/// A shadow of `parent` for training, in one thread. bad_request names the option, or the target,
/// that cannot be trained.
result<std::unique_ptr<trainer>> make_trainer(base_ptr b, adapter_ptr parent,
                                              const training_options& options);
/// What that trainer declares, without making it.
training_memory plan_training(const base& b, const adapter& parent,
                              const training_options& options);

/// Instruction path chosen at run time: "avx512-vnni", "avx2" or "portable".
std::string kernel_path();

/// Mean negative log-likelihood (nats a token) of `tokens[1..]`, in windows of `window` tokens.
result<double> cross_entropy(const base& b, const std::vector<std::int32_t>& tokens,
                             std::uint32_t window, adapter_ptr with);

}  // namespace collm::engine
