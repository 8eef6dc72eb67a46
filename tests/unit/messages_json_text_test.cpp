// How deep JSON from outside may nest.
#include "messages/json_text.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace collm {
namespace {

using nlohmann::json;

std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST(json_text, is_read_at_the_limit_and_discarded_one_past_it) {
  const std::size_t most = limits{}.json_depth_max;
  EXPECT_TRUE(parse_json<json>(nested(most)).is_array());
  EXPECT_TRUE(parse_json<json>(nested(most + 1)).is_discarded());
  EXPECT_TRUE(parse_json<nlohmann::ordered_json>(nested(1u << 20)).is_discarded());
}

TEST(json_text, what_stands_side_by_side_is_not_deep) {
  EXPECT_TRUE(nests_within(R"([{"a":[]},{"b":[]},[[]]])", 3));
  EXPECT_FALSE(nests_within(R"([{"a":[]},{"b":[]},[[]]])", 2));
}

TEST(json_text, brackets_in_strings_do_not_count) {
  EXPECT_TRUE(nests_within(R"({"[[[":"{{{\\\"[[["})", 1));
  EXPECT_FALSE(nests_within(R"({"a\\":[]})", 1));
}

TEST(json_text, what_is_no_json_is_discarded) {
  for (const char* text : {"", "]]]", "{", "\"\\", "[1,]"})
    EXPECT_TRUE(parse_json<json>(text).is_discarded()) << text;
}

}  // namespace
}  // namespace collm
