#include "engine/model/hugging_face.hpp"

#include <algorithm>
#include <charconv>
#include <list>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/adapter/safetensors.hpp"
#include "engine/model/gguf_mapping.hpp"
#include "engine/sha256.hpp"
#include "messages/json_text.hpp"
#include "text/tokenizer_json.hpp"

namespace collm::engine {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::json;

constexpr std::size_t config_bytes_max = 1u << 20;
constexpr std::size_t index_bytes_max = 64u << 20;
constexpr const char* index_name = "model.safetensors.index.json";
// What else a base is made from: the vocabulary and how it talks.
constexpr const char* word_files[] = {"tokenizer.json", "tokenizer_config.json",
                                      "chat_template.jinja"};

struct name_pair {
  std::string_view theirs, ours;
};
constexpr name_pair outer_names[] = {{"model.embed_tokens.weight", "token_embd.weight"},
                                     {"model.norm.weight", "output_norm.weight"},
                                     {"lm_head.weight", "output.weight"}};
constexpr name_pair module_names[] = {{"self_attn.q_proj", "attn_q"},
                                      {"self_attn.k_proj", "attn_k"},
                                      {"self_attn.v_proj", "attn_v"},
                                      {"self_attn.o_proj", "attn_output"},
                                      {"self_attn.q_norm", "attn_q_norm"},
                                      {"self_attn.k_norm", "attn_k_norm"},
                                      {"mlp.gate_proj", "ffn_gate"},
                                      {"mlp.up_proj", "ffn_up"},
                                      {"mlp.down_proj", "ffn_down"},
                                      {"input_layernorm", "attn_norm"},
                                      {"pre_feedforward_layernorm", "ffn_norm"},
                                      {"post_feedforward_layernorm", "post_ffw_norm"}};

std::string_view renamed(std::span<const name_pair> names, std::string_view theirs) {
  const auto found = std::ranges::find(names, theirs, &name_pair::theirs);
  return found == names.end() ? std::string_view() : found->ours;
}

tensor_type type_of(float_type t) {
  if (t == float_type::f32) return tensor_type::f32;
  return t == float_type::f16 ? tensor_type::f16 : tensor_type::bf16;
}

std::string_view text_of(const file_mapping& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

error in_file(error why, const fs::path& path) {
  why.message = path.string() + ": " + why.message;
  return why;
}

class folder_source final : public model_source {
 public:
  static result<std::shared_ptr<const model_source>> open(const fs::path& folder) {
    auto made = std::make_shared<folder_source>();
    if (auto read = made->read(folder); !read) return read.failure();
    return std::shared_ptr<const model_source>(std::move(made));
  }

  std::string sha256() const override {
    engine::sha256 hash;
    hash.add_text("collm folder 1");
    for (const auto& [name, file] : files_) {
      hash.add_text(name);
      hash.add_number(file.bytes().size());
      hash.add(file.bytes().data(), file.bytes().size());
    }
    return to_hex(hash.finish());
  }
  result<model_shape> shape() const override { return config_.shape; }
  /// Embeddings often have more rows than there are tokens.
  result<text::vocabulary> vocabulary() const override {
    const auto [tokenizer, config, chat_template] = word_files;
    if (!files_.contains(tokenizer))
      return error{errc::not_found,
                   (folder_ / tokenizer).string() + ": missing; a model folder needs one", 0};
    auto words =
        text::parse_tokenizer_json(text_in(tokenizer), text_in(config), text_in(chat_template));
    if (!words) return in_file(words.failure(), folder_);
    text::pad_tokens(*words, config_.shape.vocab);
    return words;
  }
  const std::map<std::string, gguf_tensor>& tensors() const override { return tensors_; }
  tensor_layout layout() const override {
    return {.interleaved_rotary = false,
            .norm_shift = config_.kind->shifted_norms ? 1.0f : 0.0f,
            .query_factor = config_.query_factor};
  }

 private:
  /// What a mapped file says; empty where there is none.
  std::string_view text_in(const char* name) const {
    const auto file = files_.find(name);
    return file == files_.end() ? std::string_view() : text_of(file->second);
  }

  result<void> read(const fs::path& folder) {
    folder_ = folder;
    if (auto mapped = map(folder, "config.json"); !mapped) return mapped.failure();
    const auto& config = files_.at("config.json");
    if (config.bytes().size() > config_bytes_max)
      return error{errc::too_large, (folder / "config.json").string() + ": over 1 MiB", 0};
    auto parsed = parse_hugging_face_config(text_of(config));
    if (!parsed) return in_file(parsed.failure(), folder);
    config_ = *parsed;
    std::error_code ignored;  // a file that cannot be seen counts as not there
    for (const char* name : word_files)
      if (fs::exists(folder / name, ignored))
        if (auto mapped = map(folder, name); !mapped) return mapped.failure();
    auto shards = shard_names(folder);
    if (!shards) return shards.failure();
    for (const auto& name : *shards)
      if (auto added = add_shard(folder, name); !added) return added.failure();
    settle_head();
    return {};
  }

  result<void> map(const fs::path& folder, const std::string& name) {
    auto file = file_mapping::open(folder / name);
    if (!file) return file.failure();
    files_.emplace(name, std::move(*file));
    return {};
  }

  result<std::set<std::string>> shard_names(const fs::path& folder) {
    std::error_code ignored;
    if (!fs::exists(folder / index_name, ignored))
      return std::set<std::string>{"model.safetensors"};
    if (auto mapped = map(folder, index_name); !mapped) return mapped.failure();
    const auto& file = files_.at(index_name);
    const auto wrong = [&] {
      return error{errc::corrupt,
                   (folder / index_name).string() +
                       ": expected {\"weight_map\": {tensor: file name in this folder}}",
                   0};
    };
    if (file.bytes().size() > index_bytes_max) return wrong();
    const json index = parse_json<json>(text_of(file));
    if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
      return wrong();
    std::set<std::string> names;
    for (const auto& [tensor, shard] : index["weight_map"].items()) {
      if (!shard.is_string() || shard.get<std::string>().find('/') != std::string::npos)
        return wrong();
      names.insert(shard.get<std::string>());
    }
    return names;
  }

  result<void> add_shard(const fs::path& folder, const std::string& name) {
    if (auto mapped = map(folder, name); !mapped) return mapped.failure();
    auto stored = parse_safetensors(files_.at(name).bytes());
    if (!stored) return in_file(stored.failure(), folder / name);
    for (const auto& [theirs, tensor] : *stored) {
      if (theirs.ends_with(".rotary_emb.inv_freq"))
        continue;  // old files keep what follows
                   // from rope_theta
      auto ours = gguf_tensor_name(*config_.kind, theirs);
      if (ours.empty())
        return error{errc::bad_request,
                     (folder / name).string() + ": tensor '" + theirs +
                         "' is not part of architecture " + config_.shape.architecture,
                     0};
      gguf_tensor t{
          ours, type_of(tensor.type), {tensor.shape.rbegin(), tensor.shape.rend()}, tensor.bytes};
      if (!tensors_.emplace(ours, std::move(t)).second)
        return error{errc::corrupt,
                     (folder / name).string() + ": tensor '" + theirs + "' is in two files", 0};
    }
    return {};
  }

  /// Some folders store the tied head a second time.
  void settle_head() {
    auto& s = config_.shape;
    s.tied_embeddings = config_.tied.value_or(!tensors_.contains("output.weight"));
    if (s.tied_embeddings) tensors_.erase("output.weight");
  }

  fs::path folder_;
  hugging_face_config config_;
  std::map<std::string, file_mapping> files_;
  std::map<std::string, gguf_tensor> tensors_;
};

}  // namespace

std::string gguf_tensor_name(const architecture& kind, std::string_view theirs) {
  if (const auto ours = renamed(outer_names, theirs); !ours.empty()) return std::string(ours);
  constexpr std::string_view prefix = "model.layers.";
  const auto end = theirs.find('.', prefix.size());
  const auto dot = theirs.rfind('.');
  if (!theirs.starts_with(prefix) || end == std::string_view::npos || dot <= end) return {};
  const auto number = theirs.substr(prefix.size(), end - prefix.size());
  const auto module = theirs.substr(end + 1, dot - end - 1);
  auto ours = renamed(module_names, module);
  if (module == "post_attention_layernorm")  // Llama's name for the norm before the FFN
    ours = kind.post_norms ? "post_attention_norm" : "ffn_norm";
  if (ours.empty()) return {};
  return "blk." + std::string(number) + "." + std::string(ours) + std::string(theirs.substr(dot));
}

result<std::shared_ptr<const model_source>> open_hugging_face(const fs::path& folder) {
  return folder_source::open(folder);
}

}  // namespace collm::engine
