#include "engine/adapter/peft_config.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "messages/json_text.hpp"

namespace collm::engine {
namespace {

using json = nlohmann::ordered_json;  // the first matching pattern wins, so their order counts

constexpr std::size_t patterns_max = 4096;
constexpr std::array<const char*, 7> all_linear = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                   "gate_proj", "up_proj", "down_proj"};

error refused(const std::string& what) {
  return {errc::bad_request, "adapter_config.json: " + what};
}

bool is_set(const json& config, const char* field) {
  const auto at = config.find(field);
  if (at == config.end() || at->is_null()) return false;
  if (at->is_boolean()) return at->get<bool>();
  return !((at->is_array() || at->is_object()) && at->empty());
}

struct refusal {
  const char* field;
  const char* reason;
};
constexpr std::array<refusal, 14> refusals = {{
    {"use_dora", "DoRA's magnitude vectors are not built; train with use_dora=false"},
    {"modules_to_save", "fully trained modules are not built; only LoRA factors are"},
    {"fan_in_fan_out", "transposed weights do not occur in Llama-family models; must be false"},
    {"lora_bias", "a bias of lora_B is not built; must be false"},
    {"trainable_token_indices", "trained embeddings are not built"},
    {"target_parameters", "LoRA on bare parameters is not built; use target_modules"},
    {"layer_replication", "replicated layers are not built"},
    {"alora_invocation_tokens", "activated LoRA is not built"},
    {"use_qalora", "QALoRA is not built"},
    {"megatron_config", "Megatron's parallel layers are not built"},
    {"use_bdlora", "block-diagonal LoRA is not built"},
    {"kasa_config", "KaSA is not built"},
    {"monteclora_config", "MonteCLoRA is not built"},
    {"arrow_config", "Arrow's routing between adapters is not built"},
}};

result<void> check_refusals(const json& config) {
  for (const refusal& r : refusals)
    if (is_set(config, r.field)) return refused(std::string(r.field) + ": " + r.reason);
  const auto bias = config.find("bias");
  if (bias != config.end() && !bias->is_null() && *bias != "none")
    return refused("bias is " + bias->dump() + ", must be \"none\": trained biases are not built");
  // These move a part of the base weights into the factors: on the plain base the answers would be
  // wrong.
  const auto init = config.find("init_lora_weights");
  if (init == config.end() || !init->is_string()) return {};
  const auto name = init->get<std::string>();
  for (const char* moved : {"pissa", "olora", "corda", "loftq", "lora_ga"})
    if (name.starts_with(moved))
      return refused("init_lora_weights \"" + name +
                     "\" changes the base weights; convert the adapter to plain LoRA "
                     "when saving it");
  return {};
}

result<std::uint32_t> read_rank(const std::string& name, const json& value) {
  if (value.is_number_unsigned() && value.get<std::uint64_t>() >= 1 &&
      value.get<std::uint64_t>() <= rank_max)
    return value.get<std::uint32_t>();
  return refused(name + " is " + value.dump() + ", must be a whole number from 1 to " +
                 std::to_string(rank_max));
}

result<double> read_alpha(const std::string& name, const json& value) {
  if (value.is_number() && value.get<double>() > 0 && value.get<double>() <= alpha_max)
    return value.get<double>();
  return refused(name + " is " + value.dump() + ", must be a number above 0 and at most " +
                 std::to_string(alpha_max));
}

/// PEFT reads a pattern's key as the end of a module's name, spelled as a regular expression.
result<std::string> read_module_end(const std::string& field, std::string key) {
  for (std::size_t at; (at = key.find("\\.")) != std::string::npos;) key.erase(at, 1);
  const bool plain = !key.empty() && std::ranges::all_of(key, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '.';
  });
  if (plain) return key;
  return refused(field + ": '" + key +
                 "' is a regular expression; write the end of a module's name, such as "
                 "'layers.0.self_attn.q_proj'");
}

template <class Value, class Read>
result<void> read_patterns(const json& config, const char* field, Read read,
                           std::vector<std::pair<std::string, Value>>& into) {
  if (!is_set(config, field)) return {};
  const json& patterns = config.at(field);
  if (!patterns.is_object() || patterns.size() > patterns_max)
    return refused(std::string(field) + " must be an object of at most " +
                   std::to_string(patterns_max) + " entries");
  for (const auto& [key, value] : patterns.items()) {
    auto end = read_module_end(field, key);
    if (!end) return end.failure();
    auto parsed = read(std::string(field) + "." + key, value);
    if (!parsed) return parsed.failure();
    into.emplace_back(*end, *parsed);
  }
  return {};
}

result<void> read_targets(const json& config, peft_config& out) {
  const auto at = config.find("target_modules");
  if (at == config.end() || at->is_null()) return refused("target_modules is missing");
  if (*at == "all-linear") {
    out.targets.assign(all_linear.begin(), all_linear.end());
    return {};
  }
  if (at->is_string()) return {};
  if (!at->is_array() || at->empty() || at->size() > patterns_max)
    return refused("target_modules must be a list of module names, \"all-linear\" or a pattern");
  for (const json& name : *at) {
    if (!name.is_string() || name.get<std::string>().empty())
      return refused("target_modules holds " + name.dump() + ", must be a module name");
    out.targets.push_back(name.get<std::string>());
  }
  return {};
}

// A pattern of exclusions cannot be resolved here, so the tensors tell, as with a pattern of
// targets.
result<void> read_excluded(const json& config, peft_config& out) {
  if (!is_set(config, "exclude_modules")) return {};
  const json& given = config.at("exclude_modules");
  if (given.is_string())
    out.targets.clear();
  else if (!given.is_array())
    return refused("exclude_modules must be a list of module names or a pattern");
  if (!given.is_array()) return {};
  for (const json& name : given) {
    if (!name.is_string() || name.get<std::string>().empty())
      return refused("exclude_modules holds " + name.dump() + ", must be a module name");
    out.excluded.push_back(name.get<std::string>());
  }
  return {};
}

result<void> read_layers(const json& config, peft_config& out) {
  if (!is_set(config, "layers_to_transform")) return {};
  const json& given = config.at("layers_to_transform");
  const json list = given.is_array() ? given : json::array({given});
  for (const json& layer : list) {
    if (!layer.is_number_unsigned() || layer.get<std::uint64_t>() > UINT32_MAX)
      return refused("layers_to_transform holds " + layer.dump() + ", must be a layer's number");
    out.layers.push_back(layer.get<std::uint32_t>());
  }
  return {};
}

bool ends_with_module(std::string_view module, std::string_view end) {
  if (!module.ends_with(end)) return false;
  return module.size() == end.size() || module[module.size() - end.size() - 1] == '.';
}

template <class Value>
Value first_match(const std::vector<std::pair<std::string, Value>>& patterns,
                  std::string_view module, Value otherwise) {
  for (const auto& [end, value] : patterns)
    if (ends_with_module(module, end)) return value;
  return otherwise;
}

result<void> read_numbers(const json& config, peft_config& out) {
  if (config.contains("r")) {
    auto rank = read_rank("r", config.at("r"));
    if (!rank) return rank.failure();
    out.rank = *rank;
  }
  if (config.contains("lora_alpha")) {
    auto alpha = read_alpha("lora_alpha", config.at("lora_alpha"));
    if (!alpha) return alpha.failure();
    out.alpha = *alpha;
  }
  out.rank_stabilised = is_set(config, "use_rslora");
  if (auto ok = read_patterns(config, "rank_pattern", read_rank, out.rank_pattern); !ok)
    return ok.failure();
  return read_patterns(config, "alpha_pattern", read_alpha, out.alpha_pattern);
}

}  // namespace

bool peft_config::adapts(std::uint32_t layer, std::string_view module) const {
  if (!layers.empty() && std::ranges::find(layers, layer) == layers.end()) return false;
  const auto ends = [&](const std::string& end) { return ends_with_module(module, end); };
  return std::ranges::any_of(targets, ends) && std::ranges::none_of(excluded, ends);
}

std::uint32_t peft_config::rank_of(std::string_view module) const {
  return first_match(rank_pattern, module, rank);
}

float peft_config::scale_of(std::string_view module) const {
  const double r = rank_of(module);
  return static_cast<float>(first_match(alpha_pattern, module, alpha) /
                            (rank_stabilised ? std::sqrt(r) : r));
}

result<peft_config> parse_peft_config(std::string_view text) {
  const json config = parse_json<json>(text);
  if (!config.is_object()) return error{errc::corrupt, "adapter_config.json: not a JSON object"};
  const auto type = config.find("peft_type");
  if (type == config.end()) return refused("peft_type is missing, must be \"LORA\"");
  if (*type != "LORA") return refused("peft_type is " + type->dump() + ", must be \"LORA\"");
  if (auto ok = check_refusals(config); !ok) return ok.failure();
  peft_config out;
  if (auto ok = read_numbers(config, out); !ok) return ok.failure();
  if (auto ok = read_targets(config, out); !ok) return ok.failure();
  if (auto ok = read_excluded(config, out); !ok) return ok.failure();
  if (auto ok = read_layers(config, out); !ok) return ok.failure();
  return out;
}

}  // namespace collm::engine
