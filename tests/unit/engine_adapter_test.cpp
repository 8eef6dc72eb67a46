// PEFT folders in and out, and initial versions: exact where right, refused in clear words where
// wrong.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/adapter/gguf_lora.hpp"
#include "engine/adapter/peft.hpp"
#include "engine/adapter/safetensors.hpp"
#include "engine/model/gguf_parse.hpp"
#include "tests/support/tiny_model.hpp"

namespace collm::engine {
namespace {

using json = nlohmann::json;

const model_shape shape = {.architecture = "llama",
                           .layers = 2,
                           .hidden = 8,
                           .ffn = 12,
                           .heads = 2,
                           .kv_heads = 1,
                           .head_dim = 4,
                           .vocab = 16,
                           .context = 64};
constexpr const char* q_stem = "base_model.model.model.layers.0.self_attn.q_proj";

/// A folder in memory that tests spoil one way at a time: q adapted in layer 0 only, rank 2.
struct folder {
  json config = {{"peft_type", "LORA"},
                 {"r", 2},
                 {"lora_alpha", 4},
                 {"layers_to_transform", {0}},
                 {"target_modules", {"q_proj"}}};
  std::map<std::string, std::pair<std::vector<std::uint64_t>, std::vector<float>>> tensors = {
      {q_stem + std::string(".lora_A.weight"), {{2, 8}, std::vector<float>(16, 0.5f)}},
      {q_stem + std::string(".lora_B.weight"), {{8, 2}, std::vector<float>(16, 0.25f)}}};

  result<adapter_ptr> read() const {
    std::vector<outgoing_tensor> out;
    for (const auto& [name, t] : tensors) out.push_back({name, t.first, t.second});
    return read_peft(shape, config.dump(), write_safetensors(out));
  }
  void expect_refused(const std::string& words) const {
    const auto got = read();
    ASSERT_FALSE(got) << words;
    EXPECT_EQ(got.failure().code, errc::bad_request);
    EXPECT_NE(got.failure().message.find(words), std::string::npos) << got.failure().message;
  }
};

const lora_pair& pair_of(const adapter& a, std::uint32_t layer, target t) {
  return a.layers[layer][static_cast<std::size_t>(t)];
}

TEST(peft, reads_factors_and_scale) {
  const auto read = folder{}.read();
  ASSERT_TRUE(read) << read.failure().message;
  const lora_pair& q = pair_of(**read, 0, target::q);
  EXPECT_EQ(q.rank, 2u);
  EXPECT_EQ(q.in, 8u);
  EXPECT_EQ(q.out, 8u);
  EXPECT_EQ(q.scale, 2.0f);
  EXPECT_EQ(q.a, std::vector<float>(16, 0.5f));
  EXPECT_EQ(q.served_bt.size(), q.b.size());
  EXPECT_EQ(pair_of(**read, 1, target::q).rank, 0u);
  EXPECT_EQ((*read)->rank_max, 2u);
  EXPECT_EQ((*read)->bytes, 3 * 16 * sizeof(float));  // both factors, and both in halves
}

TEST(peft, the_smallest_valid_config_has_pefts_defaults) {
  folder f;
  f.config = {{"peft_type", "LORA"}, {"target_modules", {"layers.0.self_attn.q_proj"}}};
  f.tensors = {{q_stem + std::string(".lora_A.weight"), {{8, 8}, std::vector<float>(64, 1)}},
               {q_stem + std::string(".lora_B.weight"), {{8, 8}, std::vector<float>(64, 1)}}};
  const auto read = f.read();
  ASSERT_TRUE(read) << read.failure().message;
  EXPECT_EQ(pair_of(**read, 0, target::q).scale, 1.0f);
}

TEST(peft, a_pattern_leaves_it_to_the_tensors_and_all_linear_wants_all) {
  folder f;
  f.config["target_modules"] = R"(.*\.(q|v)_proj)";
  EXPECT_TRUE(f.read());
  f.config["target_modules"] = "all-linear";
  f.expect_refused(
      "layers.0.self_attn.k_proj.lora_A.weight': missing, though target_modules names it");
}

TEST(peft, excluded_modules_need_no_tensor) {
  folder f;
  f.config["target_modules"] = "all-linear";
  f.config["exclude_modules"] = {"k_proj",        "v_proj",  "o_proj",
                                 "mlp.gate_proj", "up_proj", "down_proj"};
  EXPECT_TRUE(f.read());
}

TEST(peft, refuses_what_is_not_built_by_the_fields_name) {
  const std::vector<std::pair<std::string, json>> fields = {{"use_dora", true},
                                                            {"modules_to_save", {"lm_head"}},
                                                            {"bias", "all"},
                                                            {"bias", "lora_only"},
                                                            {"fan_in_fan_out", true},
                                                            {"lora_bias", true},
                                                            {"trainable_token_indices", {1, 2}},
                                                            {"layer_replication", {{0, 1}}},
                                                            {"init_lora_weights", "pissa_niter_4"},
                                                            {"peft_type", "IA3"},
                                                            {"peft_type", nullptr},
                                                            {"r", 0},
                                                            {"r", 513},
                                                            {"r", -1},
                                                            {"r", 2.5},
                                                            {"lora_alpha", 0},
                                                            {"lora_alpha", "four"},
                                                            {"lora_alpha", 1e300},
                                                            {"rank_pattern", {{".*q_proj", 2}}},
                                                            {"rank_pattern", {{"q_proj", 0}}},
                                                            {"alpha_pattern", {{"q_proj", -1}}},
                                                            {"alpha_pattern", 3},
                                                            {"target_modules", nullptr},
                                                            {"target_modules", json::array()},
                                                            {"target_modules", {7}},
                                                            {"exclude_modules", {7}},
                                                            {"layers_to_transform", {-1}}};
  for (const auto& [field, value] : fields) {
    folder f;
    f.config[field] = value;
    SCOPED_TRACE(f.config.dump());
    f.expect_refused(field);
  }
}

TEST(peft, accepts_fields_that_say_nothing) {
  folder f;
  f.config.update(json{{"use_dora", false},
                       {"modules_to_save", nullptr},
                       {"bias", "none"},
                       {"rank_pattern", json::object()},
                       {"lora_dropout", 0.1},
                       {"init_lora_weights", true},
                       {"a_field_of_tomorrow", 3}});
  EXPECT_TRUE(f.read());
}

TEST(peft, refuses_a_config_that_is_no_json) {
  const std::string deep =
      R"({"peft_type":)" + std::string(500000, '[') + std::string(500000, ']') + "}";
  for (const std::string& text : {std::string("{"), deep}) {
    const auto read = read_peft(shape, text, {});
    ASSERT_FALSE(read);
    EXPECT_EQ(read.failure().code, errc::corrupt);
  }
}

TEST(peft, names_the_tensor_and_both_shapes) {
  folder f;
  f.tensors[q_stem + std::string(".lora_A.weight")].first = {8, 2};
  f.expect_refused("q_proj.lora_A.weight': shape must be [2, 8], is [8, 2]");
  folder g;
  g.config["r"] = 4;
  g.expect_refused("q_proj.lora_A.weight': shape must be [4, 8], is [2, 8]");
}

TEST(peft, refuses_a_factor_without_its_partner) {
  folder f;
  f.tensors.erase(q_stem + std::string(".lora_B.weight"));
  f.expect_refused("q_proj.lora_B.weight': missing, though its lora_A is there");
  folder g;
  g.tensors.erase(q_stem + std::string(".lora_A.weight"));
  g.expect_refused("q_proj.lora_A.weight': missing, though its lora_B is there");
  folder none;
  none.tensors.clear();
  none.config["target_modules"] = "nothing_of_ours";
  none.expect_refused("holds no LoRA tensor");
}

TEST(peft, refuses_names_it_does_not_know) {
  const auto with = [](const std::string& name) {
    folder f;
    f.tensors[name] = {{2}, {1, 2}};
    return f;
  };
  with("base_model.model.lm_head.lora_A.weight")
      .expect_refused("lm_head.lora_A.weight': trained or adapted embeddings");
  with(q_stem + std::string(".lora_magnitude_vector")).expect_refused("DoRA is not built");
  with("base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight")
      .expect_refused("layers.2.self_attn.q_proj.lora_A.weight': unknown");
  with("q").expect_refused("tensor 'q': unknown; expected names such as");
}

TEST(peft, refuses_a_tensor_that_the_config_does_not_name) {
  folder f;
  f.config["target_modules"] = {"v_proj"};
  f.config["layers_to_transform"] = {1};
  f.expect_refused("q_proj.lora_A.weight': there, though target_modules does not name it");
}

TEST(peft, refuses_numbers_that_are_none) {
  for (const float broken :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    folder f;
    f.tensors[q_stem + std::string(".lora_B.weight")].second[5] = broken;
    f.expect_refused("q_proj.lora_B.weight': element 5 is NaN or infinite");
  }
}

TEST(peft, digest_follows_values_and_scale_and_nothing_else) {
  const auto digest = [](const folder& f) { return (*f.read())->digest; };
  folder f;
  const std::string first = digest(f);
  EXPECT_EQ(first.size(), 64u);
  f.config["lora_dropout"] = 0.5;
  EXPECT_EQ(digest(f), first);
  f.config["lora_alpha"] = 5;
  EXPECT_NE(digest(f), first);
  folder g;
  g.tensors.begin()->second.second[3] += 1;
  EXPECT_NE(digest(g), first);
}

TEST(peft, what_is_saved_is_read_back_to_the_same_digest) {
  const model_shape odd = tiny::open_tiny(precision::f32)->shape();
  auto made = std::make_shared<adapter>(*tiny::random_adapter(odd, 3, 5));
  made->layers[1][0] = {};  // not adapted in one layer
  made->layers[0][6].scale = 1.0f / 3;
  made->layers[0][5] = tiny::random_adapter(odd, 4, 3)->layers[0][5];
  seal(*made);
  const auto path = tiny::scratch() / "saved";
  ASSERT_TRUE(save_peft(*made, "tiny", path));
  const auto read = load_peft(odd, path);
  ASSERT_TRUE(read) << read.failure().message;
  EXPECT_EQ((*read)->digest, made->digest);
}

/// Of a tensor in GGUF bytes: rows of floats.
std::vector<float> floats_of(const gguf_directory& d, const std::string& name) {
  const auto& t = d.tensors.at(name);
  std::vector<float> values(t.dims[0] * t.dims[1]);
  dequantise(t, 0, values.size(), values.data());
  return values;
}

TEST(gguf_lora, holds_the_factors_with_one_alpha_and_llamas_order_of_rows) {
  const model_shape odd = tiny::open_tiny(precision::f32)->shape();
  auto made = std::make_shared<adapter>(*tiny::random_adapter(odd, 3, 5));
  made->layers[1][0] = {};
  made->layers[0][6].scale = 3.0f;
  seal(*made);
  const auto bytes = gguf_lora_bytes(*made, odd);
  ASSERT_TRUE(bytes) << bytes.failure().message;
  const auto file = parse_gguf(*bytes);
  ASSERT_TRUE(file) << file.failure().message;
  EXPECT_EQ("adapter", std::get<std::string>(file->values.at("general.type")));
  EXPECT_EQ("lora", std::get<std::string>(file->values.at("adapter.type")));
  EXPECT_EQ("llama", std::get<std::string>(file->values.at("general.architecture")));
  EXPECT_EQ(10.0, std::get<double>(file->values.at("adapter.lora.alpha")));
  EXPECT_EQ(2u * (2 * targets_count - 1), file->tensors.size());
  EXPECT_FALSE(file->tensors.contains("blk.1.attn_q.weight.lora_a"));
  EXPECT_EQ((std::vector<std::uint64_t>{5, 72}),
            file->tensors.at("blk.0.ffn_up.weight.lora_b").dims);
  EXPECT_EQ(made->layers[0][1].a, floats_of(*file, "blk.0.attn_k.weight.lora_a"));
  EXPECT_EQ(made->layers[0][2].b, floats_of(*file, "blk.0.attn_v.weight.lora_b"));
  auto own_scale = made->layers[0][6].b;
  for (float& x : own_scale) x *= 1.5f;
  EXPECT_EQ(own_scale, floats_of(*file, "blk.0.ffn_down.weight.lora_b"));
  // Row 6 + 1 of head 0 of k turns with row 1: GGUF puts them side by side.
  const auto k = floats_of(*file, "blk.0.attn_k.weight.lora_b");
  const auto& b = made->layers[0][1].b;
  EXPECT_TRUE(std::equal(&b[1 * 5], &b[2 * 5], &k[2 * 5]));
  EXPECT_TRUE(std::equal(&b[7 * 5], &b[8 * 5], &k[3 * 5]));
}

TEST(gguf_lora, an_adapter_without_factors_is_refused) {
  adapter none;
  EXPECT_FALSE(gguf_lora_bytes(none, tiny::open_tiny(precision::f32)->shape()));
}

TEST(peft, a_folder_that_is_not_there_is_not_found_by_path) {
  const auto read = load_peft(shape, tiny::scratch() / "nowhere");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.failure().code, errc::not_found);
  EXPECT_NE(read.failure().message.find("nowhere/adapter_config.json"), std::string::npos)
      << read.failure().message;
}

class initial : public ::testing::Test {
 protected:
  const base_ptr base_ = tiny::open_tiny(precision::f32);
};

TEST_F(initial, has_a_random_a_within_its_bound_and_b_zero) {
  const auto made = initial_adapter(*base_, 4, 8, {"q", "down"}, 1);
  ASSERT_TRUE(made);
  const lora_pair& down = pair_of(**made, 1, target::down);
  EXPECT_EQ(down.in, 72u);
  EXPECT_EQ(down.out, 48u);
  EXPECT_EQ(down.scale, 2.0f);
  const float bound = 1 / std::sqrt(72.0f);
  float most = 0;
  for (const float x : down.a) most = std::max(most, std::fabs(x));
  EXPECT_LE(most, bound);
  EXPECT_GT(most, 0.9f * bound);
  EXPECT_EQ(down.b, std::vector<float>(48 * 4, 0.0f));
  EXPECT_EQ(pair_of(**made, 0, target::k).rank, 0u);
  EXPECT_EQ(adapter_rank(**made), 4u);
  EXPECT_EQ(adapter_bytes(**made), 4u * 2 * ((48 + 48) + (72 + 48)) * 6);
}

TEST_F(initial, depends_on_the_seed_alone) {
  const auto digest = [&](std::uint64_t seed, std::vector<std::string> targets) {
    return adapter_digest(**initial_adapter(*base_, 4, 8, targets, seed));
  };
  EXPECT_EQ(digest(1, {"q", "v"}), digest(1, {"v", "q"}));
  EXPECT_NE(digest(1, {"q", "v"}), digest(2, {"q", "v"}));
}

TEST_F(initial, refuses_what_makes_no_adapter) {
  EXPECT_FALSE(initial_adapter(*base_, 0, 8, {"q"}, 1));
  EXPECT_FALSE(initial_adapter(*base_, 513, 8, {"q"}, 1));
  EXPECT_FALSE(initial_adapter(*base_, 4, 0, {"q"}, 1));
  EXPECT_FALSE(initial_adapter(*base_, 4, 8, {}, 1));
  const auto unknown = initial_adapter(*base_, 4, 8, {"q", "queries"}, 1);
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.failure().message.find("'queries'"), std::string::npos);
}

// Folder and numbers were written by peft itself (tests/golden/peft_oracle.py).
TEST(peft, reads_what_peft_saved_with_pefts_own_scales) {
  const std::filesystem::path path = std::string(COLLM_SOURCE_DIR) + "/tests/golden/data/peft_odd";
  const auto read = load_peft(tiny::open_tiny(precision::f32)->shape(), path);
  ASSERT_TRUE(read) << read.failure().message;
  std::map<std::string, std::pair<double, double>> expected;
  std::ifstream file(path / "scales.txt");
  for (std::string module; file >> module;)
    file >> expected[module].first >> expected[module].second;
  ASSERT_EQ(expected.size(), 5u);
  std::size_t adapted = 0;
  for (std::uint32_t layer = 0; layer < 2; ++layer)
    for (std::size_t t = 0; t < targets_count; ++t) {
      const lora_pair& p = (*read)->layers[layer][t];
      if (p.rank == 0) continue;
      ++adapted;
      const auto& [scale, product] = expected.at(module_name(layer, static_cast<target>(t)));
      EXPECT_NEAR(p.scale, scale, 1e-6 * scale);
      double sum = 0;
      for (std::size_t o = 0; o < p.out; ++o)
        for (std::size_t i = 0; i < p.in; ++i) {
          double x = 0;
          for (std::size_t r = 0; r < p.rank; ++r)
            x += static_cast<double>(p.b[o * p.rank + r]) * p.a[r * p.in + i];
          sum += std::fabs(x);
        }
      EXPECT_NEAR(sum, product, 1e-6 * product);  // the oracle prints nine digits
    }
  EXPECT_EQ(adapted, expected.size());
}

float widened(half h) {
  _Float16 narrow;
  std::memcpy(&narrow, &h, sizeof narrow);
  return static_cast<float>(narrow);
}

TEST(adapter, served_halves_are_the_factors_to_eleven_bits_at_every_magnitude) {
  for (const float of_a : {1e-18f, 1e-6f, 1.0f, 3e4f, 1e15f})
    for (const float of_b : {1e-18f, 1e-6f, 1.0f, 3e4f, 1e15f}) {
      lora_pair p{.rank = 3, .in = 5, .out = 7, .scale = 1, .a = {}, .b = {}};
      tiny::random_numbers random(7);
      const auto number = [&] { return static_cast<float>(random.below(2001)) / 1000 - 1; };
      for (int i = 0; i < 15; ++i) p.a.push_back(of_a * number());
      for (int i = 0; i < 21; ++i) p.b.push_back(of_b * number());
      p.a[4] = of_a * 1e-5f;  // small beside the largest
      p.b[4] = 0;
      p.prepare();
      for (std::size_t j = 0; j < p.rank; ++j)
        for (std::size_t k = 0; k < p.in; ++k)
          for (std::size_t o = 0; o < p.out; ++o) {
            const double exact = double(p.a[j * p.in + k]) * double(p.b[o * p.rank + j]);
            const double served = double(widened(p.served_a[j * p.in + k])) *
                                  double(widened(p.served_bt[j * p.out + o])) *
                                  double(p.served_scale());
            EXPECT_NEAR(served, exact, std::fabs(exact) * 0x1p-10) << of_a << " " << of_b;
          }
    }
}

TEST(adapter, factors_of_zero_serve_as_zero) {
  lora_pair p{.rank = 1, .in = 2, .out = 2, .scale = 1, .a = {1, 2}, .b = {0, 0}};
  p.prepare();
  EXPECT_EQ(widened(p.served_bt[0]) * p.served_scale(), 0.0f);
  EXPECT_TRUE(std::isfinite(p.served_scale()));
}

}  // namespace
}  // namespace collm::engine
