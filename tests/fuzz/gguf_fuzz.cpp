// GGUF bytes from outside: whatever they are, the parser refuses or gives a directory whose every
// tensor lies in the bytes.
#include <cstddef>
#include <cstdint>

#include "engine/model/gguf_parse.hpp"
#include "messages/assert.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace collm::engine;
  const auto parsed = parse_gguf({data, size});
  if (!parsed) {
    COLLM_ASSERT(!parsed.failure().message.empty());
    return 0;
  }
  for (const auto& [name, t] : parsed->tensors) {
    COLLM_ASSERT(t.bytes.data() >= data && t.bytes.data() + t.bytes.size() <= data + size);
    const auto block = block_of(t.type);
    float out[256];
    dequantise(t, 0, block.elements, out);
  }
  return 0;
}
