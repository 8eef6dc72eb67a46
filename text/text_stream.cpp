#include "text/text_stream.hpp"

#include <algorithm>
#include <utility>

#include "text/utf8.hpp"

namespace collm::text {
namespace {

constexpr char32_t replacement = 0xFFFD;

}  // namespace

text_stream::text_stream(const tokenizer& tokens, std::vector<std::string> stops)
    : tokens_(&tokens), at_start_(tokens.leads_with_blank()) {
  for (std::string& stop : stops) {
    if (!stop.empty() && utf8_valid(stop)) stops_.emplace_back(std::move(stop));
  }
}

text_stream::piece text_stream::push(std::int32_t token) {
  if (stopped_) return {"", true};
  if (!tokens_->is_control(token)) {
    std::string_view bytes = tokens_->token_bytes(token);
    if (std::exchange(at_start_, false) && bytes.starts_with(' ')) bytes.remove_prefix(1);
    partial_ += bytes;
    scan(take_whole());
  }
  if (stopped_) return {std::exchange(held_, {}), true};
  std::size_t keep = 0;
  for (const stop_matcher& stop : stops_) keep = std::max(keep, stop.matched());
  const std::size_t safe = held_.size() - keep;
  std::string shown = held_.substr(0, safe);
  held_.erase(0, safe);
  return {std::move(shown), false};
}

std::string text_stream::flush() {
  if (stopped_) return {};
  // At most one sequence is incomplete, and U+FFFD may itself be what completes a stop string.
  if (!std::exchange(partial_, {}).empty()) {
    std::string mended;
    utf8_append(mended, replacement);
    scan(mended);
  }
  stopped_ = true;
  return std::exchange(held_, {});
}

// Moves what is complete out of partial_; bytes that nothing can complete become U+FFFD.
std::string text_stream::take_whole() {
  std::string whole;
  std::string_view rest = partial_;
  while (!rest.empty()) {
    const utf8_step step = utf8_next(rest);
    if (step.state == utf8_state::truncated) break;
    utf8_append(whole, step.state == utf8_state::whole ? step.point : replacement);
    rest.remove_prefix(step.size);
  }
  partial_.erase(0, partial_.size() - rest.size());
  return whole;
}

// Appends to held_ up to the first byte that completes a stop string, then cuts that string off.
void text_stream::scan(std::string_view text) {
  for (const char byte : text) {
    held_.push_back(byte);
    std::size_t cut = 0;
    for (stop_matcher& stop : stops_) {
      if (stop.push(byte)) cut = std::max(cut, stop.matched());
    }
    if (cut == 0) continue;
    held_.erase(held_.size() - cut);
    stopped_ = true;
    return;
  }
}

}  // namespace collm::text
