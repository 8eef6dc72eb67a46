// Hugging Face folders: what a config says, what is refused by name, how files become one model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/model/hugging_face.hpp"

namespace collm::engine {
namespace {

using nlohmann::json;
using testing::HasSubstr;
namespace fs = std::filesystem;

/// Of Gemma 3 270M, as published.
json gemma3() {
  return json::parse(R"({"model_type": "gemma3_text", "hidden_size": 640, "intermediate_size": 2048,
    "num_hidden_layers": 18, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
    "vocab_size": 262144, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
    "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 256, "rope_scaling": null,
    "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0, "sliding_window": 512,
    "attn_logit_softcapping": null, "attention_bias": false})");
}

json qwen2() {
  return json::parse(R"({"model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864,
    "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
    "vocab_size": 151936, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
    "hidden_act": "silu", "rope_theta": 1000000.0, "sliding_window": 32768,
    "use_sliding_window": false, "tie_word_embeddings": true})");
}

std::string refusal(const json& config) {
  const auto parsed = parse_hugging_face_config(config.dump());
  return parsed ? "accepted" : parsed.failure().message;
}

TEST(engine_hugging_face, reads_the_shapes_of_published_configs) {
  const auto gemma = parse_hugging_face_config(gemma3().dump());
  ASSERT_TRUE(gemma) << gemma.failure().message;
  const auto& s = gemma->shape;
  EXPECT_EQ("gemma3", s.architecture);
  EXPECT_EQ(256u, s.head_dim);
  EXPECT_EQ(1e6f, s.rope_theta);
  EXPECT_EQ(10000.0f, s.window_rope_theta);
  EXPECT_EQ(512u, s.window);
  EXPECT_TRUE(s.windowed(4));
  EXPECT_FALSE(s.windowed(5));
  EXPECT_TRUE(s.windowed(6));
  EXPECT_FLOAT_EQ(25.298221f, s.embedding_scale);
  EXPECT_EQ(1.0f, gemma->query_factor);
  const auto qwen = parse_hugging_face_config(qwen2().dump());
  ASSERT_TRUE(qwen) << qwen.failure().message;
  EXPECT_EQ(64u, qwen->shape.head_dim);
  EXPECT_TRUE(qwen->shape.qkv_bias);
  EXPECT_EQ(0u, qwen->shape.window);
  EXPECT_EQ(true, qwen->tied);
}

TEST(engine_hugging_face, the_rotation_of_transformers_5_stands_by_type_of_layer) {
  auto config = gemma3();
  config.erase("rope_theta");
  config["rope_parameters"] = {{"full_attention", {{"rope_type", "default"}, {"rope_theta", 5e5}}},
                               {"sliding_attention", {{"rope_theta", 7e3}}}};
  const auto parsed = parse_hugging_face_config(config.dump());
  ASSERT_TRUE(parsed) << parsed.failure().message;
  EXPECT_EQ(5e5f, parsed->shape.rope_theta);
  EXPECT_EQ(7e3f, parsed->shape.window_rope_theta);
}

TEST(engine_hugging_face, what_is_not_built_is_refused_by_name) {
  auto config = gemma3();
  config["model_type"] = "mamba";
  EXPECT_THAT(refusal(config),
              HasSubstr("'mamba' is not built; supported: llama, qwen2, qwen3, gemma3_text"));
  const auto with = [](json of, const char* key, json value) {
    of[key] = std::move(value);
    return refusal(of);
  };
  EXPECT_THAT(with(qwen2(), "use_sliding_window", true), HasSubstr("'use_sliding_window'"));
  EXPECT_THAT(with(qwen2(), "attention_bias", true), HasSubstr("'attention_bias'"));
  EXPECT_THAT(with(qwen2(), "hidden_act", "gelu"), HasSubstr("'silu'"));
  EXPECT_THAT(with(qwen2(), "rope_scaling", {{"rope_type", "yarn"}}), HasSubstr("'yarn'"));
  EXPECT_THAT(with(qwen2(), "quantization_config", {{"bits", 4}}),
              HasSubstr("'quantization_config'"));
  EXPECT_THAT(with(gemma3(), "final_logit_softcapping", 30.0),
              HasSubstr("'final_logit_softcapping'"));
  auto types = json::array();
  for (int i = 0; i < 18; ++i) types.push_back(i < 2 ? "full_attention" : "sliding_attention");
  EXPECT_THAT(with(gemma3(), "layer_types", types), HasSubstr("'layer_types'"));
}

TEST(engine_hugging_face, sizes_that_are_missing_or_impossible_are_refused_by_name) {
  for (const char* key : {"hidden_size", "num_hidden_layers", "vocab_size", "head_dim",
                          "sliding_window", "max_position_embeddings"}) {
    auto config = gemma3();
    config.erase(key);
    EXPECT_THAT(refusal(config), HasSubstr(key));
    for (const json& wrong : {json(0), json(-1), json("7"), json(1.5), json(1ull << 40)}) {
      config[key] = wrong;
      EXPECT_THAT(refusal(config), HasSubstr(key)) << wrong;
    }
  }
  auto config = qwen2();
  config["num_key_value_heads"] = 3;
  EXPECT_THAT(refusal(config), HasSubstr("kv_heads is 3"));
  EXPECT_EQ(errc::corrupt, parse_hugging_face_config("[").failure().code);
  const std::string deep = std::string(500000, '[') + std::string(500000, ']');
  EXPECT_EQ(errc::corrupt,
            parse_hugging_face_config(R"({"model_type":)" + deep + "}").failure().code);
}

class engine_folder : public testing::Test {
 protected:
  engine_folder() {
    std::string name = (fs::temp_directory_path() / "collm_folder.XXXXXX").string();
    folder = ::mkdtemp(name.data());
    fs::copy(fs::path(COLLM_SOURCE_DIR) / "tests/golden/data/qwen2_folder/model", folder);
  }
  ~engine_folder() override { fs::remove_all(folder); }
  std::string refused() const {
    const auto opened = model_source::open(folder);
    return opened ? "accepted" : opened.failure().message;
  }
  std::string digest() const { return (*model_source::open(folder))->sha256(); }
  void write(const char* name, const std::string& text) const {
    std::ofstream(folder / name) << text;
  }
  fs::path folder;
};

TEST_F(engine_folder, its_shards_are_one_model_by_ggufs_names) {
  const auto from = model_source::open(folder);
  ASSERT_TRUE(from) << from.failure().message;
  EXPECT_EQ(2u + 2 * 12, (*from)->tensors().size());
  const auto& q = (*from)->tensors().at("blk.1.attn_q.bias");
  EXPECT_EQ(tensor_type::bf16, q.type);
  EXPECT_EQ((std::vector<std::uint64_t>{40}), q.dims);
  EXPECT_EQ((std::vector<std::uint64_t>{40, 350}), (*from)->tensors().at("token_embd.weight").dims);
  EXPECT_TRUE((*from)->shape()->tied_embeddings);
}

TEST_F(engine_folder, rows_beyond_the_tokenizer_are_unused_tokens) {
  const auto words = (*model_source::open(folder))->vocabulary();
  ASSERT_TRUE(words) << words.failure().message;
  EXPECT_EQ(350u, words->tokens.size());
  EXPECT_EQ(text::token_type::unused, words->types.back());
  fs::remove(folder / "tokenizer.json");
  const auto none = open_base(folder, precision::f32, folder / "cache");
  ASSERT_FALSE(none);
  EXPECT_THAT(none.failure().message, HasSubstr("tokenizer.json"));
}

TEST_F(engine_folder, its_words_are_those_that_its_digest_counted) {
  write("chat_template.jinja", "as it was");
  const auto from = *model_source::open(folder);
  const auto digest = from->sha256();
  fs::remove(folder / "chat_template.jinja");
  write("chat_template.jinja", "as it is now");
  EXPECT_EQ("as it was", from->vocabulary()->chat_template);
  EXPECT_EQ(digest, from->sha256());
}

TEST_F(engine_folder, a_file_that_makes_no_base_does_not_count) {
  const auto before = digest();
  write("generation_config.json", R"({"temperature": 0.6})");
  EXPECT_EQ(before, digest());
}

TEST_F(engine_folder, every_file_counts_for_the_digest) {
  const auto before = digest();
  EXPECT_EQ(before, digest());
  write("tokenizer_config.json", "{}");
  const auto with_words = digest();
  EXPECT_NE(before, with_words);
  write("tokenizer_config.json", "{ }");
  EXPECT_NE(with_words, digest());
}

TEST_F(engine_folder, a_shard_that_is_missing_or_outside_is_refused_by_name) {
  fs::remove(folder / "model-00002-of-00003.safetensors");
  EXPECT_THAT(refused(), HasSubstr("model-00002-of-00003.safetensors"));
  write("model.safetensors.index.json", R"({"weight_map": {"a": "../b.safetensors"}})");
  EXPECT_THAT(refused(), HasSubstr("weight_map"));
  write("model.safetensors.index.json", "[]");
  EXPECT_THAT(refused(), HasSubstr("weight_map"));
}

TEST_F(engine_folder, a_tensor_of_another_architecture_is_refused_by_name) {
  auto config = json::parse(std::ifstream(folder / "config.json"));
  config["model_type"] = "llama";
  write("config.json", config.dump());
  const auto from = model_source::open(folder);
  ASSERT_TRUE(from) << from.failure().message;
  EXPECT_EQ("",
            gguf_tensor_name(*architecture_named("llama"), "model.layers.0.mlp.experts.weight"));
  EXPECT_EQ("blk.3.ffn_norm.weight",
            gguf_tensor_name(*architecture_named("llama"),
                             "model.layers.3.post_attention_layernorm.weight"));
  EXPECT_EQ("blk.3.post_attention_norm.weight",
            gguf_tensor_name(*architecture_named("gemma3"),
                             "model.layers.3.post_attention_layernorm.weight"));
}

}  // namespace
}  // namespace collm::engine
