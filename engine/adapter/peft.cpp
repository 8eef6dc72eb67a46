#include "engine/adapter/peft.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/adapter/peft_config.hpp"
#include "engine/adapter/safetensors.hpp"

namespace collm::engine {
namespace {

constexpr std::uint64_t config_bytes_max = 1u << 20;
constexpr std::uint64_t tensors_bytes_max = 1ull << 30;
constexpr const char* config_file = "adapter_config.json";
constexpr const char* tensors_file = "adapter_model.safetensors";
constexpr std::string_view key_prefix = "base_model.model.";
constexpr std::array<const char*, targets_count> module_ends = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

enum class factor : std::uint8_t { a, b };

std::string tensor_name(std::uint32_t layer, target t, factor f) {
  return std::string(key_prefix) + module_name(layer, t) +
         (f == factor::a ? ".lora_A.weight" : ".lora_B.weight");
}

error refused(const std::string& tensor, const std::string& what) {
  return {errc::bad_request, "adapter tensor '" + tensor + "': " + what};
}

// A name that is none of ours, in the words of what it most likely is.
error unknown_tensor(const model_shape& shape, const std::string& name) {
  if (name.find("lora_magnitude_vector") != std::string::npos)
    return refused(name, "DoRA is not built");
  if (name.find("embed") != std::string::npos || name.find("lm_head") != std::string::npos)
    return refused(name, "trained or adapted embeddings are not built");
  return refused(name, "unknown; expected names such as '" + tensor_name(0, target::q, factor::a) +
                           "' for layers 0 to " + std::to_string(shape.layers - 1) +
                           " and q, k, v, o, gate, up, down");
}

class reader {
 public:
  reader(const model_shape& shape, const peft_config& config, const stored_tensors& tensors)
      : shape_(shape), config_(config), tensors_(tensors) {}

  result<adapter_ptr> read() {
    auto made = std::make_shared<adapter>();
    made->layers.resize(shape_.layers);
    for (std::uint32_t layer = 0; layer < shape_.layers; ++layer)
      for (std::size_t t = 0; t < targets_count; ++t)
        if (auto ok = read_pair(layer, static_cast<target>(t), made->layers[layer][t]); !ok)
          return ok.failure();
    for (const auto& [name, tensor] : tensors_)
      if (!used_.contains(name)) return unknown_tensor(shape_, name);
    if (used_.empty())
      return error{errc::bad_request, std::string(tensors_file) + " holds no LoRA tensor"};
    seal(*made);
    return adapter_ptr(std::move(made));
  }

 private:
  result<void> read_pair(std::uint32_t layer, target t, lora_pair& pair) {
    const std::string module = module_name(layer, t);
    const std::string name_a = tensor_name(layer, t, factor::a),
                      name_b = tensor_name(layer, t, factor::b);
    const bool has_a = tensors_.contains(name_a), has_b = tensors_.contains(name_b);
    const bool told = !config_.targets.empty();
    const bool expected = told && config_.adapts(layer, module);
    if (!has_a && !has_b && !expected) return {};
    if (!has_a)
      return refused(name_a, has_b ? "missing, though its lora_B is there"
                                   : "missing, though target_modules names it");
    if (!has_b) return refused(name_b, "missing, though its lora_A is there");
    if (told && !expected) return refused(name_a, "there, though target_modules does not name it");
    const auto [out, in] = target_shape(shape_, t);
    const std::uint32_t rank = config_.rank_of(module);
    pair = {
        .rank = rank, .in = in, .out = out, .scale = config_.scale_of(module), .a = {}, .b = {}};
    if (auto ok = read_factor(name_a, {rank, in}, pair.a); !ok) return ok.failure();
    return read_factor(name_b, {out, rank}, pair.b);
  }

  result<void> read_factor(const std::string& name, std::vector<std::uint64_t> expected,
                           std::vector<float>& into) {
    const stored_tensor& tensor = tensors_.at(name);
    if (tensor.shape != expected)
      return refused(
          name, "shape must be " + spell_shape(expected) + ", is " + spell_shape(tensor.shape));
    into = to_floats(tensor);
    const auto broken = std::ranges::find_if_not(into, [](float x) { return std::isfinite(x); });
    if (broken != into.end())
      return refused(name,
                     "element " + std::to_string(broken - into.begin()) + " is NaN or infinite");
    used_.insert(name);
    return {};
  }

  const model_shape& shape_;
  const peft_config& config_;
  const stored_tensors& tensors_;
  std::set<std::string> used_;
};

struct closed {
  void operator()(std::FILE* f) const { std::fclose(f); }
};
using file_ptr = std::unique_ptr<std::FILE, closed>;

error io_failure(const std::filesystem::path& path, const char* what) {
  const errc code = errno == ENOENT ? errc::not_found : errc::io;
  return {code, std::string(what) + " " + path.string() + ": " + std::strerror(errno)};
}

result<std::vector<std::uint8_t>> read_file(const std::filesystem::path& path,
                                            std::uint64_t bytes_max) {
  std::error_code failed;
  const auto bytes = std::filesystem::file_size(path, failed);
  if (failed) {
    errno = failed.value();
    return io_failure(path, "cannot read");
  }
  if (bytes > bytes_max)
    return error{errc::too_large, path.string() + " has " + std::to_string(bytes) + " bytes, " +
                                      std::to_string(bytes_max) + " allowed"};
  const file_ptr file(std::fopen(path.c_str(), "rb"));
  if (!file) return io_failure(path, "cannot open");
  std::vector<std::uint8_t> content(bytes);
  if (std::fread(content.data(), 1, bytes, file.get()) != bytes)
    return error{errc::io, "cannot read all of " + path.string()};
  return content;
}

result<void> write_file(const std::filesystem::path& path, std::span<const std::uint8_t> content) {
  file_ptr file(std::fopen(path.c_str(), "wb"));
  if (!file) return io_failure(path, "cannot create");
  const bool written = std::fwrite(content.data(), 1, content.size(), file.get()) == content.size();
  if (std::fclose(file.release()) != 0 || !written) return io_failure(path, "cannot write");
  return {};
}

/// PEFT keeps one rank and one alpha plus exceptions by module; the commonest pair becomes the
/// general one.
nlohmann::ordered_json describe(const adapter& from, const std::string& base_name) {
  std::map<std::pair<std::uint32_t, float>, std::uint32_t> votes;
  std::set<std::string> targets;
  const auto each = [&](auto&& visit) {
    for (std::uint32_t layer = 0; layer < from.layers.size(); ++layer)
      for (std::size_t t = 0; t < targets_count; ++t)
        if (const lora_pair& p = from.layers[layer][t]; p.rank > 0)
          visit(layer, static_cast<target>(t), p);
  };
  each([&](std::uint32_t layer, target t, const lora_pair& p) {
    ++votes[{p.rank, p.scale}];
    targets.insert(module_name(layer, t));
  });
  const auto most = std::ranges::max_element(votes, {}, [](const auto& v) { return v.second; });
  const std::uint32_t rank = most->first.first;
  const double alpha = static_cast<double>(most->first.second) * rank;
  auto ranks = nlohmann::ordered_json::object(), alphas = nlohmann::ordered_json::object();
  each([&](std::uint32_t layer, target t, const lora_pair& p) {
    if (p.rank != rank) ranks[module_name(layer, t)] = p.rank;
    const double own = static_cast<double>(p.scale) * p.rank;
    if (own != alpha) alphas[module_name(layer, t)] = own;
  });
  return {{"peft_type", "LORA"},
          {"task_type", "CAUSAL_LM"},
          {"base_model_name_or_path", base_name},
          {"r", rank},
          {"lora_alpha", alpha},
          {"target_modules", targets},
          {"rank_pattern", ranks},
          {"alpha_pattern", alphas},
          {"lora_dropout", 0.0},
          {"bias", "none"},
          {"use_rslora", false},
          {"use_dora", false},
          {"modules_to_save", nullptr},
          {"fan_in_fan_out", false},
          {"inference_mode", true}};
}

std::vector<outgoing_tensor> outgoing(const adapter& from) {
  std::vector<outgoing_tensor> tensors;
  for (std::uint32_t layer = 0; layer < from.layers.size(); ++layer)
    for (std::size_t t = 0; t < targets_count; ++t) {
      const lora_pair& p = from.layers[layer][t];
      if (p.rank == 0) continue;
      tensors.push_back(
          {tensor_name(layer, static_cast<target>(t), factor::a), {p.rank, p.in}, p.a});
      tensors.push_back(
          {tensor_name(layer, static_cast<target>(t), factor::b), {p.out, p.rank}, p.b});
    }
  return tensors;
}

}  // namespace

std::string module_name(std::uint32_t layer, target t) {
  return "model.layers." + std::to_string(layer) + "." + module_ends[static_cast<std::size_t>(t)];
}

result<adapter_ptr> read_peft(const model_shape& shape, std::string_view config,
                              std::span<const std::uint8_t> tensors) {
  auto parsed = parse_peft_config(config);
  if (!parsed) return parsed.failure();
  auto stored = parse_safetensors(tensors);
  if (!stored) return stored.failure();
  return reader(shape, *parsed, *stored).read();
}

result<adapter_ptr> load_peft(const model_shape& shape, const std::filesystem::path& folder) {
  auto config = read_file(folder / config_file, config_bytes_max);
  if (!config) return config.failure();
  auto tensors = read_file(folder / tensors_file, tensors_bytes_max);
  if (!tensors) return tensors.failure();
  return read_peft(shape, {reinterpret_cast<const char*>(config->data()), config->size()},
                   *tensors);
}

result<adapter_ptr> load_peft(const base& b, const std::filesystem::path& folder) {
  return load_peft(b.shape(), folder);
}

result<void> save_peft(const adapter& from, const std::string& base_name,
                       const std::filesystem::path& folder) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) return error{errc::io, "cannot create " + folder.string() + ": " + failed.message()};
  if (from.rank_max == 0)
    return error{errc::bad_request, "an adapter without factors cannot be written"};
  const std::string config = describe(from, base_name).dump(2) + "\n";
  const auto text = reinterpret_cast<const std::uint8_t*>(config.data());
  if (auto ok = write_file(folder / tensors_file, write_safetensors(outgoing(from))); !ok)
    return ok;
  return write_file(folder / config_file, {text, config.size()});
}

}  // namespace collm::engine
