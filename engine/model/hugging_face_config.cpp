#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/model/hugging_face.hpp"
#include "messages/json_text.hpp"

namespace collm::engine {
namespace {

using json = nlohmann::json;

/// Typed look-ups that remember the first failure; null counts as absent.
class reader {
 public:
  explicit reader(const json& object) : object_(object) {}

  bool has(const char* key) const { return object_.contains(key) && !object_[key].is_null(); }
  std::uint32_t count(const char* key, std::uint32_t most) {
    if (has(key) && object_[key].is_number_unsigned()) {
      const auto v = object_[key].get<std::uint64_t>();
      if (v >= 1 && v <= most) return static_cast<std::uint32_t>(v);
    }
    refuse(key, "an integer from 1 to " + std::to_string(most));
    return 0;
  }
  std::uint32_t count_or(const char* key, std::uint32_t most, std::uint32_t otherwise) {
    return has(key) ? count(key, most) : otherwise;
  }
  float real_or(const char* key, double least, double most, float otherwise) {
    if (!has(key)) return otherwise;
    const double v = object_[key].is_number() ? object_[key].get<double>() : least - 1;
    if (v >= least && v <= most) return static_cast<float>(v);
    refuse(key, "a number in its usual range");
    return otherwise;
  }
  std::string text_or(const char* key, const std::string& otherwise) {
    if (!has(key)) return otherwise;
    if (object_[key].is_string()) return object_[key].get<std::string>();
    refuse(key, "a string");
    return otherwise;
  }
  std::optional<bool> flag(const char* key) {
    if (!has(key)) return std::nullopt;
    if (object_[key].is_boolean()) return object_[key].get<bool>();
    refuse(key, "true or false");
    return std::nullopt;
  }
  /// What is not built must be absent, null, false or zero.
  void refuse_set(const char* key) {
    const bool off = !has(key) || object_[key] == json(false) || object_[key] == json(0);
    if (!off) refuse(key, "nothing there: it is not built");
  }
  const json& object() const { return object_; }
  void refuse(const std::string& key, const std::string& expected) {
    if (!first_)
      first_ = error{errc::bad_request,
                     "config.json: key '" + key + "' is missing or wrong; expected " + expected, 0};
  }
  const std::optional<error>& failure() const { return first_; }

 private:
  const json& object_;
  std::optional<error> first_;
};

/// One base frequency; any stretching of positions is refused by its name.
float theta_of(reader& in, const json& parameters, float otherwise) {
  if (!parameters.is_object()) return otherwise;
  reader rope(parameters);
  const auto kind = rope.text_or("rope_type", rope.text_or("type", "default"));
  if (kind != "default") in.refuse("rope_type", "'default', as '" + kind + "' is not built");
  const float theta = rope.real_or("rope_theta", 1.0, 1e12, otherwise);
  if (rope.failure()) in.refuse("rope_theta", "a number from 1");
  return theta;
}

/// Transformers 4 has flat keys, 5 has rope_parameters, for Gemma one for each type of layer.
void read_rotation(reader& in, model_shape& s) {
  s.rope_theta = in.real_or("rope_theta", 1.0, 1e12, s.rope_theta);
  s.window_rope_theta = in.real_or("rope_local_base_freq", 1.0, 1e12, s.window_rope_theta);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!in.has(key)) continue;
    const json& all = in.object()[key];
    if (!all.is_object()) return in.refuse(key, "an object");
    if (all.contains("full_attention")) {
      s.rope_theta = theta_of(in, all["full_attention"], s.rope_theta);
      if (all.contains("sliding_attention"))
        s.window_rope_theta = theta_of(in, all["sliding_attention"], s.window_rope_theta);
    } else {
      s.rope_theta = theta_of(in, all, s.rope_theta);
    }
  }
}

/// layer_types must be what a pattern says: every n-th layer sees all.
void read_windows(reader& in, const architecture& kind, model_shape& s) {
  s.window = in.count("sliding_window", 1u << 20);
  s.window_pattern = in.count_or("sliding_window_pattern", 1024, kind.window_pattern);
  if (!in.has("layer_types")) return;
  const json& types = in.object()["layer_types"];
  if (!types.is_array() || types.size() != s.layers)
    return in.refuse("layer_types", "one string for each layer");
  s.window_pattern = s.layers + 1;
  for (std::uint32_t l = s.layers; l-- > 0;)
    if (types[l] == "full_attention") s.window_pattern = l + 1;
  for (std::uint32_t l = 0; l < s.layers; ++l)
    if (types[l] != (s.windowed(l) ? "sliding_attention" : "full_attention"))
      return in.refuse("layer_types",
                       "'full_attention' every n-th layer, 'sliding_attention' else");
}

void read_sizes(reader& in, const architecture& kind, model_shape& s) {
  s.layers = in.count("num_hidden_layers", 1024);
  s.hidden = in.count("hidden_size", 65536);
  s.ffn = in.count("intermediate_size", 1u << 20);
  s.heads = in.count("num_attention_heads", 1024);
  s.kv_heads = in.count_or("num_key_value_heads", 1024, s.heads);
  s.vocab = in.count("vocab_size", 1u << 24);
  s.context = in.count("max_position_embeddings", 1u << 20);
  // Where heads are normed, their width is free of the hidden size and every config states it.
  s.head_dim = kind.head_norms ? in.count("head_dim", 1024)
                               : in.count_or("head_dim", 1024, s.heads ? s.hidden / s.heads : 0);
  s.norm_epsilon = in.real_or("rms_norm_eps", 0.0, 1.0, 1e-6f);
}

void refuse_unbuilt(reader& in, const architecture& kind) {
  const std::string gate = kind.gate == gate_kind::silu ? "silu" : "gelu_pytorch_tanh";
  for (const char* key : {"hidden_act", "hidden_activation"})
    if (in.text_or(key, gate) != gate) in.refuse(key, "'" + gate + "'");
  for (const char* key :
       {"attention_bias", "mlp_bias", "use_sliding_window", "attn_logit_softcapping",
        "final_logit_softcapping", "use_bidirectional_attention", "quantization_config"})
    in.refuse_set(key);
}

}  // namespace

result<hugging_face_config> parse_hugging_face_config(std::string_view text) {
  const json parsed = parse_json<json>(text);
  if (!parsed.is_object()) return error{errc::corrupt, "config.json: not a JSON object", 0};
  reader in(parsed);
  hugging_face_config config;
  const auto type = in.text_or("model_type", "");
  config.kind = architecture_of_hugging_face(type);
  if (config.kind == nullptr)
    return error{
        errc::bad_request,
        "config.json: model_type '" + type + "' is not built; supported: " + hugging_face_names(),
        0};
  auto& s = config.shape;
  read_sizes(in, *config.kind, s);
  read_rotation(in, s);
  if (config.kind->window_pattern != 0) {
    read_windows(in, *config.kind, s);
    const float scalar =
        in.real_or("query_pre_attn_scalar", 1e-3, 1e6, static_cast<float>(s.head_dim));
    config.query_factor = std::sqrt(static_cast<float>(s.head_dim) / scalar);
  }
  config.tied = in.flag("tie_word_embeddings");
  refuse_unbuilt(in, *config.kind);
  if (in.failure()) return *in.failure();
  apply(*config.kind, s);
  if (auto right = check_shape(s); !right) return right.failure();
  return config;
}

}  // namespace collm::engine
