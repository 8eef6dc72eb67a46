// Every tensor type against the gguf package's own dequantiser (gguf_blocks_oracle.py), bit for
// bit.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/model/gguf_parse.hpp"

namespace collm::engine {
namespace {

std::vector<std::uint8_t> from_hex(const std::string& text) {
  std::vector<std::uint8_t> bytes;
  for (std::size_t i = 0; i < text.size(); i += 2)
    bytes.push_back(static_cast<std::uint8_t>(std::stoul(text.substr(i, 2), nullptr, 16)));
  return bytes;
}

TEST(gguf_blocks, give_the_values_that_the_gguf_package_gives) {
  std::ifstream in(COLLM_SOURCE_DIR "/tests/golden/data/gguf_blocks.json");
  ASSERT_TRUE(in);
  const auto cases = nlohmann::json::parse(in);
  EXPECT_EQ(10u, cases.size());
  for (const auto& [name, c] : cases.items()) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(known_type(c.at("number")));
    const auto type = static_cast<tensor_type>(c.at("number").get<std::uint32_t>());
    const auto bytes = from_hex(c.at("bytes"));
    const auto expected = c.at("values").get<std::vector<float>>();
    ASSERT_EQ(bytes.size() / block_of(type).bytes * block_of(type).elements, expected.size());
    std::vector<float> got(expected.size());
    dequantise({name, type, {expected.size()}, bytes}, 0, got.size(), got.data());
    EXPECT_EQ(expected, got);
  }
}

TEST(gguf_blocks, of_four_bits_are_sixteen_levels_of_their_scales) {
  std::ifstream in(COLLM_SOURCE_DIR "/tests/golden/data/gguf_blocks.json");
  ASSERT_TRUE(in);
  int types = 0;
  const auto cases = nlohmann::json::parse(in);
  for (const auto& [name, c] : cases.items()) {
    const auto type = static_cast<tensor_type>(c.at("number").get<std::uint32_t>());
    if (!has_four_bits(type)) continue;
    SCOPED_TRACE(name);
    ++types;
    const auto bytes = from_hex(c.at("bytes"));
    const auto values = c.at("values").get<std::vector<float>>();
    const auto scales = affine_scales({name, type, {values.size()}, bytes}, 0, values.size());
    ASSERT_EQ(values.size() / 32, scales.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto [scale, shift] = scales[i / 32];
      bool found = false;
      for (int level = 0; level < 16 && !found; ++level)
        found = scale * static_cast<float>(level) + shift == values[i];
      EXPECT_TRUE(found) << i;
    }
  }
  EXPECT_EQ(3, types);
}

}  // namespace
}  // namespace collm::engine
