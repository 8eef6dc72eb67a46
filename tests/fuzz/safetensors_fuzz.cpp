// Any bytes as an adapter's two files: read or refused, never a crash, and what is read is whole.
// The first byte chooses what the rest is: adapter_model.safetensors, adapter_config.json, or both,
// where two bytes (little-endian) say how long the config before the tensors is.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "engine/adapter/peft.hpp"
#include "engine/adapter/safetensors.hpp"
#include "messages/assert.hpp"

namespace {

using namespace collm::engine;

const model_shape shape = {.architecture = "llama",
                           .layers = 2,
                           .hidden = 8,
                           .ffn = 12,
                           .heads = 2,
                           .kv_heads = 1,
                           .head_dim = 4,
                           .vocab = 16,
                           .context = 64};
constexpr std::string_view config = R"({"peft_type":"LORA","r":2,"target_modules":"any"})";

void check_tensors(std::span<const std::uint8_t> file) {
  const auto parsed = parse_safetensors(file);
  if (!parsed) return COLLM_ASSERT(!parsed.failure().message.empty());
  for (const auto& [name, tensor] : *parsed) {
    COLLM_ASSERT(tensor.bytes.data() >= file.data());
    COLLM_ASSERT(tensor.bytes.data() + tensor.bytes.size() <= file.data() + file.size());
    COLLM_ASSERT(to_floats(tensor).size() == tensor.count());
  }
}

void check_adapter(std::string_view text, std::span<const std::uint8_t> file) {
  const auto read = read_peft(shape, text, file);
  if (!read) return COLLM_ASSERT(!read.failure().message.empty());
  COLLM_ASSERT((*read)->layers.size() == shape.layers && (*read)->digest.size() == 64);
  for (const auto& layer : (*read)->layers)
    for (const lora_pair& p : layer) {
      COLLM_ASSERT(p.a.size() == std::size_t{p.rank} * p.in &&
                   p.b.size() == std::size_t{p.rank} * p.out);
      COLLM_ASSERT(p.rank == 0 || (std::isfinite(p.scale) && p.scale >= 0));
      for (const float x : p.a) COLLM_ASSERT(std::isfinite(x));
      for (const float x : p.b) COLLM_ASSERT(std::isfinite(x));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::span<const std::uint8_t> rest(data + 1, size - 1);
  const auto text = [](std::span<const std::uint8_t> bytes) {
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  switch (data[0] % 3) {
    case 0:
      check_tensors(rest);
      check_adapter(config, rest);
      break;
    case 1:
      check_adapter(text(rest), {});
      break;
    default: {
      if (rest.size() < 2) break;
      const auto both = rest.subspan(2);
      const auto config_bytes = std::min<std::size_t>(rest[0] | rest[1] << 8, both.size());
      check_adapter(text(both.first(config_bytes)), both.subspan(config_bytes));
    }
  }
  return 0;
}
