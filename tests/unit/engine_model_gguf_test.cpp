// GGUF bytes from outside: what is right is read, what is wrong is refused by name, nothing is
// trusted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "engine/model/gguf_parse.hpp"
#include "tests/unit/engine_gguf_bytes.hpp"

namespace collm::engine {
namespace {

using testing::HasSubstr;

std::string refusal(const gguf_bytes& b) {
  const auto parsed = parse_gguf(b.bytes);
  return parsed ? "accepted" : parsed.failure().message;
}

TEST(engine_gguf, reads_keys_of_every_kind_and_the_tensor_directory) {
  const auto b = small_gguf();
  const auto parsed = parse_gguf(b.bytes);
  ASSERT_TRUE(parsed) << parsed.failure().message;
  EXPECT_EQ(7u, std::get<std::uint64_t>(parsed->values.at("n")));
  EXPECT_EQ("llama", std::get<std::string>(parsed->values.at("name")));
  EXPECT_TRUE(std::get<bool>(parsed->values.at("flag")));
  EXPECT_EQ((std::vector<std::int64_t>{-1, 2}),
            std::get<std::vector<std::int64_t>>(parsed->values.at("list")));
  EXPECT_EQ((std::vector<std::string>{"a", "bc"}),
            std::get<std::vector<std::string>>(parsed->values.at("words")));
  const auto& t = parsed->tensors.at("t");
  EXPECT_EQ(32u, t.bytes.size());
  EXPECT_EQ(b.bytes.data() + b.bytes.size() - 32, t.bytes.data());
}

TEST(engine_gguf, every_cut_of_a_right_file_is_refused) {
  const auto whole = small_gguf().bytes;
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(parse_gguf(std::span(whole.data(), size))) << size;
}

TEST(engine_gguf, refuses_another_magic_and_version) {
  gguf_bytes magic = small_gguf();
  magic.bytes[0] = 'X';
  EXPECT_THAT(refusal(magic), HasSubstr("does not start with 'GGUF'"));
  EXPECT_THAT(refusal(gguf_bytes(1, 0, 0)), HasSubstr("supported: 2 and 3"));
  EXPECT_EQ("accepted", refusal(gguf_bytes(2, 0, 0)));
}

TEST(engine_gguf, refuses_counts_that_the_file_cannot_hold) {
  EXPECT_THAT(refusal(gguf_bytes(3, ~0ull, 0)), HasSubstr("entries"));
  EXPECT_THAT(refusal(gguf_bytes(3, 0, ~0ull)), HasSubstr("entries"));
  gguf_bytes list(3, 0, 1);
  list.text("k").put(9u).put(4u).put(std::uint64_t{1} << 60);
  EXPECT_THAT(refusal(list), HasSubstr("more than the file holds"));
  gguf_bytes key(3, 0, 1);
  key.put(~0ull);
  EXPECT_NE("accepted", refusal(key));
}

TEST(engine_gguf, refuses_arrays_that_cost_more_memory_than_vocabularies_need) {
  gguf_bytes lists(3, 0, 2);
  for (const char* key : {"half", "rest"}) {
    lists.text(key).put(9u).put(0u).put(std::uint64_t{1} << 23);
    lists.bytes.resize(lists.bytes.size() + (1u << 23));
  }
  EXPECT_EQ("accepted", refusal(lists));
  lists.bytes[16] = 3;  // one key more
  lists.text("last").put(9u).put(0u).put(std::uint64_t{1}).put(std::uint8_t{0});
  EXPECT_THAT(refusal(lists), HasSubstr("array 'last' is one of more than 16777216 elements"));
}

TEST(engine_gguf, refuses_nested_arrays_unknown_types_and_repeated_keys) {
  gguf_bytes nested(3, 0, 1);
  nested.text("k").put(9u).put(9u).put(std::uint64_t{0});
  EXPECT_THAT(refusal(nested), HasSubstr("array 'k'"));
  gguf_bytes unknown(3, 0, 1);
  unknown.text("k").put(13u);
  EXPECT_THAT(refusal(unknown), HasSubstr("value type 13"));
  gguf_bytes twice(3, 0, 2);
  twice.key_u32("k", 1).key_u32("k", 1);
  EXPECT_THAT(refusal(twice), HasSubstr("there twice"));
}

TEST(engine_gguf, refuses_tensors_that_lie_outside_or_overflow) {
  EXPECT_THAT(refusal(gguf_bytes(3, 1, 0).tensor("t", {8}, 0, 32).data(32)),
              HasSubstr("outside the file"));
  EXPECT_THAT(refusal(gguf_bytes(3, 1, 0).tensor("t", {9}, 0, 0).data(32)),
              HasSubstr("outside the file"));
  EXPECT_THAT(refusal(gguf_bytes(3, 1, 0).tensor("t", {8}, 0, ~31ull).data(32)),
              HasSubstr("outside the file"));
  EXPECT_THAT(refusal(gguf_bytes(3, 1, 0).tensor("t", {1ull << 40, 1ull << 40}, 0, 0).data(32)),
              HasSubstr("impossible dimension"));
  EXPECT_THAT(refusal(gguf_bytes(3, 1, 0).tensor("t", {1ull << 62}, 0, 0).data(32)),
              HasSubstr("too large"));
  EXPECT_THAT(refusal(gguf_bytes(3, 1, 0).tensor("t", {}, 0, 0).data(32)),
              HasSubstr("0 dimensions"));
  EXPECT_THAT(refusal(gguf_bytes(3, 1, 0).tensor("t", {33}, 8, 0).data(64)),
              HasSubstr("multiple of 32"));
}

TEST(engine_gguf, names_a_tensor_type_that_is_not_built) {
  EXPECT_THAT(refusal(gguf_bytes(3, 1, 0).tensor("blk.0.attn_q.weight", {256}, 10, 0).data(256)),
              HasSubstr("'blk.0.attn_q.weight' has type 10; supported: F32 (0), F16 (1)"));
}

TEST(engine_gguf, refuses_an_alignment_that_is_no_power_of_two) {
  EXPECT_THAT(refusal(gguf_bytes(3, 0, 1).key_u32("general.alignment", 24)),
              HasSubstr("general.alignment"));
}

TEST(engine_gguf, a_missing_file_is_not_found_and_an_empty_one_is_corrupt) {
  EXPECT_EQ(errc::not_found, gguf_file::open("/nonexistent/model.gguf").failure().code);
  const auto empty = std::filesystem::temp_directory_path() / "collm_empty.gguf";
  std::ofstream(empty).close();
  EXPECT_EQ(errc::corrupt, gguf_file::open(empty).failure().code);
}

std::shared_ptr<const gguf_file> opened(const gguf_bytes& b, const char* name) {
  const auto path = std::filesystem::temp_directory_path() / name;
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(b.bytes.data()),
             static_cast<std::streamsize>(b.bytes.size()));
  const auto file = gguf_file::open(path);
  EXPECT_TRUE(file) << file.failure().message;
  return *file;
}

TEST(engine_gguf, a_flag_that_is_no_flag_is_refused_by_its_name) {
  gguf_bytes b(3, 0, 2);
  b.text("tokenizer.ggml.tokens").put(9u).put(8u).put(std::uint64_t{1}).text("a");
  b.key_text("tokenizer.ggml.add_bos_token", "false");
  EXPECT_THAT(opened(b, "collm_flag.gguf")->vocabulary().failure().message,
              HasSubstr("'tokenizer.ggml.add_bos_token' is missing or wrong; expected true"));
}

TEST(engine_gguf, an_unknown_architecture_is_refused_by_its_name) {
  const auto file =
      opened(gguf_bytes(3, 0, 1).key_text("general.architecture", "bert"), "collm_bert.gguf");
  EXPECT_THAT(file->shape().failure().message, HasSubstr("'bert' is not built; supported: llama"));
}

TEST(engine_gguf, half_floats_are_exact) {
  EXPECT_EQ(1.0f, half_to_float(0x3c00));
  EXPECT_EQ(-2.0f, half_to_float(0xc000));
  EXPECT_EQ(65504.0f, half_to_float(0x7bff));
  EXPECT_EQ(0x1p-24f, half_to_float(0x0001));
  EXPECT_EQ(-0x1p-14f, half_to_float(0x8400));
  EXPECT_TRUE(std::isinf(half_to_float(0x7c00)));
  EXPECT_TRUE(std::isnan(half_to_float(0x7e00)));
}

TEST(engine_gguf, blocks_dequantise_as_ggml_defines_them) {
  std::vector<std::uint8_t> block(20);
  const std::uint16_t half = 0x3800, one = 0x3c00;  // 0.5 and 1
  std::memcpy(block.data(), &half, 2);
  std::memcpy(block.data() + 2, &one, 2);
  for (int i = 0; i < 16; ++i) block[4 + i] = static_cast<std::uint8_t>(i | (15 - i) << 4);
  float out[32];
  dequantise({"t", tensor_type::q4_1, {32}, block}, 0, 32, out);
  EXPECT_EQ(1.0f, out[0]);
  EXPECT_EQ(1.0f + 0.5f * 15, out[16]);
  EXPECT_EQ(1.0f + 0.5f * 3, out[3]);

  std::vector<std::uint8_t> q4_0(block.begin() + 2, block.end());
  dequantise({"t", tensor_type::q4_0, {32}, q4_0}, 0, 32, out);
  EXPECT_EQ(-8.0f, out[0]);
  EXPECT_EQ(7.0f, out[16]);

  std::vector<std::uint8_t> q8(2 * 34);
  std::memcpy(q8.data() + 34, &half, 2);
  q8[34 + 2] = 0x80;
  q8[34 + 33] = 127;
  dequantise({"t", tensor_type::q8_0, {64}, q8}, 32, 32, out);
  EXPECT_EQ(-64.0f, out[0]);
  EXPECT_EQ(63.5f, out[31]);
}

}  // namespace
}  // namespace collm::engine
