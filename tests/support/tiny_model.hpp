// A tiny random Llama-family model for tests of the engine: written as a GGUF file, opened as any
// other. Two layers, odd widths, a byte vocabulary; the same bytes for the same seed. Also random
// adapters for it.
#pragma once

#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "engine/adapter/adapter.hpp"
#include "engine/adapter/peft.hpp"
#include "engine/engine.hpp"
#include "engine/sample/counter_rng.hpp"
#include "tests/unit/text_tiny.hpp"

namespace collm::engine::tiny {

struct model_sizes {
  std::uint32_t layers = 2, hidden = 48, ffn = 72, heads = 4, kv_heads = 2, head_dim = 12,
                context = 640;
};

/// Numbers in [-1, 1), by Philox as the product draws them, so no standard library changes them.
class random_numbers {
 public:
  explicit random_numbers(std::uint64_t seed) : seed_(seed) {}
  float next() {
    return static_cast<float>(2 * uniform(seed_, random_stream::initial_weights, index_++) - 1);
  }
  std::uint32_t below(std::uint32_t bound) {
    return static_cast<std::uint32_t>(uniform(seed_, random_stream::initial_weights, index_++) *
                                      bound);
  }
  std::vector<float> many(std::size_t count, float scale) {
    std::vector<float> out(count);
    for (float& x : out) x = scale * next();
    return out;
  }

 private:
  std::uint64_t seed_, index_ = 0;
};

/// GGUF v3: keys, directory of f32 tensors, data aligned to 32.
class gguf_writer {
 public:
  void number(std::string_view key, std::uint32_t value) { entry(key, 4), raw(keys_, value); }
  void real(std::string_view key, float value) { entry(key, 6), raw(keys_, value); }
  void text(std::string_view key, std::string_view value) { entry(key, 8), string(keys_, value); }
  void texts(std::string_view key, const std::vector<std::string>& values) {
    array(key, 8, values.size());
    for (const std::string& v : values) string(keys_, v);
  }
  void integers(std::string_view key, const std::vector<std::int32_t>& values) {
    array(key, 5, values.size());
    for (const std::int32_t v : values) raw(keys_, v);
  }
  /// `dims`: elements of a row first.
  void tensor(std::string_view name, const std::vector<std::uint64_t>& dims,
              const std::vector<float>& values) {
    ++tensor_count_;
    string(directory_, name);
    raw(directory_, static_cast<std::uint32_t>(dims.size()));
    for (const std::uint64_t d : dims) raw(directory_, d);
    raw(directory_, std::uint32_t{0});
    raw(directory_, std::uint64_t{data_.size()});
    data_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    data_.resize((data_.size() + 31) / 32 * 32);
  }
  void save(const std::filesystem::path& path) const {
    std::string file = "GGUF";
    raw(file, std::uint32_t{3});
    raw(file, tensor_count_);
    raw(file, key_count_);
    file += keys_ + directory_;
    file.resize((file.size() + 31) / 32 * 32);
    file += data_;
    std::ofstream(path, std::ios::binary)
        .write(file.data(), static_cast<std::streamsize>(file.size()));
  }

 private:
  template <class T>
  static void raw(std::string& to, T value) {
    to.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  static void string(std::string& to, std::string_view text) {
    raw(to, std::uint64_t{text.size()});
    to += text;
  }
  void entry(std::string_view key, std::uint32_t type) {
    ++key_count_;
    string(keys_, key);
    raw(keys_, type);
  }
  void array(std::string_view key, std::uint32_t type, std::uint64_t count) {
    entry(key, 9);
    raw(keys_, type);
    raw(keys_, count);
  }
  std::string keys_, directory_, data_;
  std::uint64_t key_count_ = 0, tensor_count_ = 0;
};

inline void write_vocabulary(gguf_writer& to, const text::vocabulary& vocab) {
  to.text("tokenizer.ggml.model", vocab.model);
  to.text("tokenizer.ggml.pre", vocab.pre_tokenizer);
  to.texts("tokenizer.ggml.tokens", vocab.tokens);
  std::vector<std::int32_t> types;
  for (const auto type : vocab.types) types.push_back(static_cast<std::int32_t>(type));
  to.integers("tokenizer.ggml.token_type", types);
  to.texts("tokenizer.ggml.merges", vocab.merges);
  to.number("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(text::tiny::turn_end));
}

inline void write_layer(gguf_writer& to, const model_sizes& m, std::uint32_t layer,
                        random_numbers& random) {
  const std::string prefix = "blk." + std::to_string(layer) + ".";
  const auto matrix = [&](const char* name, std::uint32_t out, std::uint32_t in) {
    to.tensor(prefix + name, {in, out}, random.many(std::size_t{out} * in, 0.35f));
  };
  const auto gains = [&](const char* name) {
    auto values = random.many(m.hidden, 0.5f);
    for (float& v : values) v += 1;
    values[layer + 3] *= 20;  // an outlier channel, as real models have
    to.tensor(prefix + name, {m.hidden}, values);
  };
  const std::uint32_t q = m.heads * m.head_dim, kv = m.kv_heads * m.head_dim;
  gains("attn_norm.weight");
  gains("ffn_norm.weight");
  matrix("attn_q.weight", q, m.hidden);
  matrix("attn_k.weight", kv, m.hidden);
  matrix("attn_v.weight", kv, m.hidden);
  matrix("attn_output.weight", m.hidden, q);
  matrix("ffn_gate.weight", m.ffn, m.hidden);
  matrix("ffn_up.weight", m.ffn, m.hidden);
  matrix("ffn_down.weight", m.hidden, m.ffn);
}

inline void write_model(const std::filesystem::path& path, const model_sizes& m,
                        std::uint64_t seed) {
  random_numbers random(seed);
  gguf_writer file;
  file.text("general.architecture", "llama");
  file.number("llama.block_count", m.layers);
  file.number("llama.embedding_length", m.hidden);
  file.number("llama.feed_forward_length", m.ffn);
  file.number("llama.attention.head_count", m.heads);
  file.number("llama.attention.head_count_kv", m.kv_heads);
  file.number("llama.attention.key_length", m.head_dim);
  file.number("llama.context_length", m.context);
  file.real("llama.rope.freq_base", 10000.0f);
  file.real("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  const text::vocabulary vocab = text::tiny::make_vocabulary({{" ", "t"}, {"h", "e"}, {"i", "n"}});
  write_vocabulary(file, vocab);
  file.tensor("token_embd.weight", {m.hidden, vocab.tokens.size()},
              random.many(vocab.tokens.size() * m.hidden, 1.0f));
  file.tensor("output_norm.weight", {m.hidden}, std::vector<float>(m.hidden, 0.5f));
  for (std::uint32_t layer = 0; layer < m.layers; ++layer) write_layer(file, m, layer, random);
  file.save(path);
}

/// Removed at the end of the process.
class scratch_folder {
 public:
  scratch_folder()
      : path_(std::filesystem::temp_directory_path() / ("collm_test_" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~scratch_folder() {
    std::error_code ignored;  // a folder that is left over is no failure of a test
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline const std::filesystem::path& scratch() {
  static const scratch_folder folder;
  return folder.path();
}

inline base_ptr open_tiny(precision p, std::uint64_t seed = 1) {
  const auto file = scratch() / ("tiny" + std::to_string(seed) + ".gguf");
  if (!std::filesystem::exists(file)) write_model(file, {}, seed);
  auto opened = open_base(file, p, scratch() / "bases");
  if (!opened) throw std::runtime_error(opened.failure().message);
  return *opened;
}

/// A and B random, B not zero: answers differ from the base's and from each other's.
inline adapter_ptr random_adapter(const model_shape& shape, std::uint64_t seed,
                                  std::uint32_t rank = 4, float strength = 0.3f) {
  random_numbers random(seed);
  auto made = std::make_shared<adapter>();
  made->layers.resize(shape.layers);
  for (auto& layer : made->layers)
    for (std::size_t t = 0; t < targets_count; ++t) {
      const auto [out, in] = target_shape(shape, static_cast<target>(t));
      lora_pair& p = layer[t];
      p.rank = rank;
      p.in = in;
      p.out = out;
      p.scale = 2.0f;
      p.a = random.many(std::size_t{rank} * in, strength);
      p.b = random.many(std::size_t{rank} * out, strength);
    }
  seal(*made);
  return made;
}

}  // namespace collm::engine::tiny
