// Reading and writing safetensors: what is right is exact, what is wrong is refused by name before
// a byte is used.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "engine/adapter/safetensors.hpp"

namespace collm::engine {
namespace {

using bytes = std::vector<std::uint8_t>;

bytes file_of(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  bytes file(8 + header.size() + data_bytes, 0);
  std::memcpy(file.data(), &length, 8);
  std::memcpy(file.data() + 8, header.data(), header.size());
  return file;
}

std::string entry(const std::string& name, const std::string& type, const std::string& shape,
                  int begin, int end) {
  return "\"" + name + "\":{\"dtype\":\"" + type + "\",\"shape\":" + shape + ",\"data_offsets\":[" +
         std::to_string(begin) + "," + std::to_string(end) + "]}";
}

void expect_refused(const bytes& file, const std::string& words, errc code = errc::corrupt) {
  const auto parsed = parse_safetensors(file);
  ASSERT_FALSE(parsed) << words;
  EXPECT_EQ(parsed.failure().code, code);
  EXPECT_NE(parsed.failure().message.find(words), std::string::npos) << parsed.failure().message;
}

TEST(safetensors, gives_back_what_was_written) {
  const std::vector<float> a = {1.5f, -0.0f, 3e-40f, 7}, b = {9, 8};
  const bytes file = write_safetensors({{"b", {2, 1}, b}, {"a", {2, 2}, a}, {"none", {0, 3}, {}}});
  const auto parsed = parse_safetensors(file);
  ASSERT_TRUE(parsed) << parsed.failure().message;
  ASSERT_EQ(parsed->size(), 3u);
  EXPECT_EQ(parsed->at("a").shape, (std::vector<std::uint64_t>{2, 2}));
  EXPECT_EQ(to_floats(parsed->at("a")), a);
  EXPECT_EQ(to_floats(parsed->at("b")), b);
  EXPECT_TRUE(to_floats(parsed->at("none")).empty());
  EXPECT_EQ(file.size() % 4, 0u);
}

TEST(safetensors, reads_half_and_brain_floats_exactly) {
  const std::string header =
      "{" + entry("h", "F16", "[7]", 0, 14) + "," + entry("b", "BF16", "[3]", 14, 20) + "}";
  bytes file = file_of(header, 20);
  const std::uint16_t halves[] = {0x3c00, 0xc000, 0x0001, 0x03ff, 0x7bff, 0xfc00, 0x8000};
  const std::uint16_t brains[] = {0x3f80, 0xc0a0, 0x0001};
  std::memcpy(file.data() + file.size() - 20, halves, 14);
  std::memcpy(file.data() + file.size() - 6, brains, 6);
  const auto parsed = parse_safetensors(file);
  ASSERT_TRUE(parsed) << parsed.failure().message;
  EXPECT_EQ(to_floats(parsed->at("h")),
            (std::vector<float>{1, -2, 0x1p-24f, 0x3ffp-24f, 65504, -INFINITY, -0.0f}));
  EXPECT_TRUE(std::signbit(to_floats(parsed->at("h"))[6]));
  EXPECT_EQ(to_floats(parsed->at("b")),
            (std::vector<float>{1, -5, std::bit_cast<float>(0x00010000u)}));
}

TEST(safetensors, metadata_is_no_tensor) {
  const bytes file =
      file_of(R"({"__metadata__":{"format":"pt"},)" + entry("a", "F32", "[1]", 0, 4) + "}", 4);
  const auto parsed = parse_safetensors(file);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->size(), 1u);
}

TEST(safetensors, refuses_a_damaged_frame) {
  expect_refused({1, 2, 3}, "shorter than its 8-byte header length");
  bytes cut = file_of("{}", 0);
  cut.pop_back();
  expect_refused(cut, "the header claims 2 bytes, the file has 1");
  bytes huge = file_of("{}", 0);
  huge[7] = 0xff;
  expect_refused(huge, "a header of");
  expect_refused(file_of("{", 0), "not JSON");
  expect_refused(file_of("[]", 0), "not a JSON object");
  expect_refused(file_of("{\"a\":" + std::string(300, '[') + std::string(300, ']') + "}", 0),
                 "nested too deep");
  expect_refused(file_of("{} trailing", 0), "not JSON");
}

TEST(safetensors, refuses_a_wrong_entry_by_name) {
  expect_refused(file_of(R"({"w":{"dtype":"F32","shape":[1]}})", 4),
                 "tensor 'w': needs dtype, shape and data_offsets");
  expect_refused(file_of(R"({"w":7})", 4), "tensor 'w': needs");
  expect_refused(file_of("{" + entry("w", "I64", "[1]", 0, 8) + "}", 8), "tensor 'w' has type I64",
                 errc::bad_request);
  expect_refused(file_of("{" + entry("w", "F32", "[-1]", 0, 4) + "}", 4),
                 "tensor 'w': a shape holds whole numbers");
  expect_refused(file_of("{" + entry("w", "F32", "[1.5]", 0, 4) + "}", 4),
                 "tensor 'w': a shape holds whole numbers");
  expect_refused(file_of("{" + entry("w", "F32", "[1,1,1,1,1,1,1,1,1]", 0, 4) + "}", 4),
                 "at most 8 numbers");
  expect_refused(file_of("{" + entry("w", "F32", "[4294967296,4294967296]", 0, 4) + "}", 4),
                 "larger than the file");
  expect_refused(file_of("{" + entry("w", "F32", "[2]", 0, 4) + "}", 4),
                 "shape [2] takes 8 bytes, data_offsets give 4");
  expect_refused(file_of("{" + entry("w", "F32", "[1]", 4, 8) + "}", 4),
                 "within the 4 bytes of data");
  expect_refused(file_of("{" + entry("w", "F32", "[1]", 4, 0) + "}", 4), "data_offsets must be");
}

TEST(safetensors, refuses_overlaps_gaps_twins_and_leftovers) {
  const std::string a = entry("a", "F32", "[1]", 0, 4);
  expect_refused(file_of("{" + a + "," + entry("b", "F32", "[1]", 0, 4) + "}", 4),
                 "tensor 'b': overlaps");
  expect_refused(file_of("{" + a + "," + entry("b", "F32", "[1]", 2, 6) + "}", 6),
                 "tensor 'b': overlaps");
  expect_refused(file_of("{" + a + "," + entry("b", "F32", "[1]", 6, 10) + "}", 10),
                 "tensor 'b': leaves a gap");
  expect_refused(file_of("{" + a + "}", 9), "5 bytes after the last tensor");
  expect_refused(file_of("{" + a + "," + entry("a", "F32", "[1]", 4, 8) + "}", 8),
                 "'a' stands twice");
}

TEST(safetensors, holds_to_its_limits) {
  const std::string two =
      "{" + entry("a", "F32", "[1]", 0, 4) + "," + entry("b", "F32", "[1]", 4, 8) + "}";
  EXPECT_TRUE(parse_safetensors(file_of(two, 8), {.tensors_max = 2}));
  EXPECT_FALSE(parse_safetensors(file_of(two, 8), {.tensors_max = 1}));
  EXPECT_TRUE(parse_safetensors(file_of(two, 8), {.header_bytes_max = two.size()}));
  EXPECT_FALSE(parse_safetensors(file_of(two, 8), {.header_bytes_max = two.size() - 1}));
}

}  // namespace
}  // namespace collm::engine
