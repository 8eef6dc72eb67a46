// cross_entropy: how well a base, with or without an adapter, predicts given tokens. A pass of its
// own; no serving state.
#include <algorithm>
#include <cmath>

#include "engine/model/decoder.hpp"

namespace collm::engine {
namespace {

constexpr std::uint32_t rows_at_once = 64;  // bounds the logits in memory: 12 MiB with 49152 tokens

/// -log softmax(logits)[token], nats; summed in double.
double surprise(std::span<const float> logits, std::int32_t token) {
  const float most = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (float v : logits) total += std::exp(static_cast<double>(v - most));
  return std::log(total) - static_cast<double>(logits[static_cast<std::size_t>(token)] - most);
}

/// Sum over tokens[1..] of one window.
double window_surprise(decoder& forward, const private_pages& pages,
                       std::span<const std::int32_t> tokens, const adapter* with,
                       std::uint32_t vocab) {
  double total = 0;
  for (std::size_t at = 0; at + 1 < tokens.size(); at += rows_at_once) {
    const std::size_t rows = std::min<std::size_t>(rows_at_once, tokens.size() - 1 - at);
    const segment s{
        tokens.subspan(at, rows), static_cast<std::uint32_t>(at), pages.table(), with, false, true};
    const auto logits = forward.forward(std::span(&s, 1), pages.kv());
    for (std::size_t r = 0; r < rows; ++r)
      total += surprise(logits.subspan(r * vocab, vocab), tokens[at + r + 1]);
  }
  return total;
}

}  // namespace

result<double> cross_entropy(const base& b, const std::vector<std::int32_t>& tokens,
                             std::uint32_t window, adapter_ptr with) {
  const auto& s = b.shape();
  if (tokens.size() < 2 || window < 2 || window > s.context)
    return error{errc::bad_request,
                 "cross entropy needs two tokens and a window of 2 to " + std::to_string(s.context),
                 0};
  for (auto t : tokens)
    if (t < 0 || static_cast<std::uint32_t>(t) >= s.vocab)
      return error{errc::bad_request, "token " + std::to_string(t) + " is not of this vocabulary",
                   0};
  // The decoder shares the base; this call's reference keeps it alive, so the pointer need not own
  // it.
  const std::shared_ptr<const packed_base> held(std::shared_ptr<void>(), &packed(b));
  decoder forward(held, 1, rows_at_once);
  const private_pages pages(s, b.precision(), window);
  double total = 0;
  std::size_t predicted = 0;
  const std::span all(tokens);
  for (std::size_t at = 0; at + 1 < tokens.size(); at += window) {
    const auto some = all.subspan(at, std::min<std::size_t>(window, tokens.size() - at));
    if (some.size() < 2) break;
    total += window_surprise(forward, pages, some, with.get(), s.vocab);
    predicted += some.size() - 1;
  }
  return total / static_cast<double>(predicted);
}

}  // namespace collm::engine
