// Any bytes as tokenizer.json: refused, or a tokenizer that gives back what it was given.
#include <cstdint>
#include <string_view>

#include "messages/assert.hpp"
#include "text/tokenizer.hpp"
#include "text/tokenizer_json.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace collm::text;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  auto vocab = parse_tokenizer_json(text, "");
  (void)parse_tokenizer_json("{}", text);
  if (!vocab) return 0;
  const auto made = tokenizer::make(std::move(*vocab));
  if (!made) return 0;
  const tokenizer& t = **made;
  const std::string_view said = "A b'S 12\n\n  <s>\xC3\xA9\xFF</s> <0x41>\xE2\x96\x81";
  for (const bool parse_special : {true, false}) {
    const auto ids = t.encode(said, parse_special);
    for (const std::int32_t id : ids) COLLM_ASSERT(id >= 0 && id < t.size());
    (void)t.decode(ids, true);
  }
  return 0;
}
