// Adapters as GGUF against the same adapters written by the gguf package (gguf_lora_oracle.py).
#include <gtest/gtest.h>

#include <cstring>

#include "engine/adapter/gguf_lora.hpp"
#include "engine/adapter/peft.hpp"
#include "engine/model/gguf_parse.hpp"
#include "engine/model/model_source.hpp"

namespace collm::engine {
namespace {

class gguf_lora_golden : public testing::TestWithParam<const char*> {};

TEST_P(gguf_lora_golden, is_what_the_gguf_package_writes) {
  const auto folder = std::filesystem::path(COLLM_SOURCE_DIR) / "tests/golden/data" / GetParam();
  const auto model = gguf_file::open(folder / "model.gguf");
  ASSERT_TRUE(model) << model.failure().message;
  const auto shape = *(*model)->shape();
  const auto read = load_peft(shape, folder / "lora");
  ASSERT_TRUE(read) << read.failure().message;
  const auto bytes = gguf_lora_bytes(**read, shape);
  ASSERT_TRUE(bytes) << bytes.failure().message;
  const auto ours = parse_gguf(*bytes);
  ASSERT_TRUE(ours) << ours.failure().message;
  const auto theirs = gguf_file::open(folder / "lora.gguf");
  ASSERT_TRUE(theirs) << theirs.failure().message;
  for (const auto& [key, value] : ours->values) {
    ASSERT_NE(nullptr, (*theirs)->find(key)) << key;
    EXPECT_EQ(*(*theirs)->find(key), value) << key;
  }
  EXPECT_EQ((*theirs)->tensors().size(), ours->tensors.size());
  for (const auto& [name, tensor] : ours->tensors) {
    const auto* same = (*theirs)->tensor(name);
    ASSERT_NE(nullptr, same) << name;
    EXPECT_EQ(same->dims, tensor.dims) << name;
    ASSERT_EQ(same->bytes.size(), tensor.bytes.size()) << name;
    EXPECT_EQ(0, std::memcmp(same->bytes.data(), tensor.bytes.data(), tensor.bytes.size())) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(models, gguf_lora_golden, testing::Values("tied", "gemma3"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace collm::engine
