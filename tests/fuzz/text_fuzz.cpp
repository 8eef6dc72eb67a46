// Any bytes through splitter, tokenizer, chat template and stream: what goes in must come out.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "messages/assert.hpp"
#include "tests/unit/text_tiny.hpp"
#include "text/chat_template.hpp"
#include "text/splitter.hpp"
#include "text/text_stream.hpp"
#include "text/utf8.hpp"

namespace {

using namespace collm::text;

const tokenizer& tokens() {
  static const auto made = tiny::make_tokenizer(tiny::make_vocabulary(
      {{" ", "t"}, {"h", "e"}, {" t", "he"}, {"'", "s"}, {"\xC3", "\xA9"}, {"<", "|"}}));
  return *made;
}

void splits_without_loss(std::string_view text) {
  for (const split_rule rule :
       {split_rule::gpt2, split_rule::smollm, split_rule::qwen2, split_rule::llama3}) {
    std::string joined;
    splitter cutter(text, rule);
    for (auto piece = cutter.next(); !piece.empty(); piece = cutter.next()) joined += piece;
    COLLM_ASSERT(joined == text);
  }
}

void encodes_without_loss(std::string_view text) {
  COLLM_ASSERT(tokens().decode(tokens().encode(text, true), false) == text);
  const auto plain = tokens().encode(text, false);
  for (const std::int32_t id : plain) COLLM_ASSERT(!tokens().is_control(id));
  COLLM_ASSERT(tokens().decode(plain, true) == text);
}

// The first byte says where the stop string ends and the answer begins.
void streams_without_loss(std::string_view text) {
  if (text.empty()) return;
  const auto cut = static_cast<std::uint8_t>(text[0]) % 8u;
  const std::string stop(text.substr(1, cut));
  const std::string_view answer = text.size() > 1 + cut ? text.substr(1 + cut) : std::string_view();
  text_stream free(tokens(), {}), stopping(tokens(), {stop});
  std::string all, shown;
  for (const std::int32_t id : tokens().encode(answer, false)) {
    all += free.push(id).text;
    shown += stopping.push(id).text;
  }
  all += free.flush();
  shown += stopping.flush();
  COLLM_ASSERT(collm::text::utf8_valid(all) && all.starts_with(shown));
  COLLM_ASSERT(!utf8_valid(answer) || all == answer);
  if (stop.empty() || !utf8_valid(stop)) return;
  const std::size_t at = all.find(stop);  // one stop string: first completed is first begun
  COLLM_ASSERT(shown == all.substr(0, at));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  splits_without_loss(text);
  encodes_without_loss(text);
  streams_without_loss(text);
  (void)chat_template::recognise(std::string(text));
  return 0;
}
