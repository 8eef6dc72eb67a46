// What one engine alone can do, without actors or gateway: `collm bench engine`, and ours in the
// table of peers. Drives the executor by hand, on the thread that calls.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "messages/result.hpp"

namespace collm::deploy {

struct engine_bench_options {
  std::filesystem::path model;      ///< GGUF
  std::filesystem::path cache_dir;  ///< where packed bases are
  engine::precision precision = engine::precision::int8;
  std::uint32_t threads = 2;
  std::uint32_t prefill_tokens = 512;
  std::vector<std::uint32_t> decode = {1, 8, 16, 32};  ///< sequences at once, a row each
  std::uint32_t context_tokens = 128;                  ///< of each sequence when decoding starts
  std::uint32_t steps = 64;
  std::uint32_t adapters = 0;  ///< taken in turn by the decoding sequences; 0: the base alone
  std::uint32_t adapter_rank = 8;
  std::uint32_t runs = 3;
  engine::sampling how;  ///< of every sequence, which has its own seed
};

/// Tokens a second of each run, in order.
using rates = std::vector<double>;
double median(rates values);

struct decode_row {
  std::uint32_t sequences = 0;
  rates tokens_per_s;  ///< of all sequences together
};

struct engine_bench {
  std::string kernel_path;
  double open_seconds = 0;
  rates prefill_tokens_per_s;
  std::vector<decode_row> decode;
  engine::memory_view memory;  ///< after the last row
};

/// Each row warms up once, then runs. Refuses what does not fit the model's context.
result<engine_bench> run_engine_bench(const engine_bench_options& options);

struct perplexity_options {
  std::filesystem::path model, cache_dir, text;
  engine::precision precision = engine::precision::int8;
  std::uint32_t tokens_max = 8192;
  std::uint32_t window = 512;
};

/// Of whole windows. `all` counts every token but a window's first; `second_half` only those that
/// have half a window before them, as llama.cpp's perplexity does: the two are not to be compared.
struct perplexity {
  std::uint32_t windows = 0;
  double all = 0, second_half = 0;
};

result<perplexity> measure_perplexity(const perplexity_options& options);

}  // namespace collm::deploy
