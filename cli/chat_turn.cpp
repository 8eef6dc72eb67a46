#include "cli/chat_turn.hpp"

#include <chrono>
#include <cstdio>

namespace collm::cli {
namespace {

using clock = std::chrono::steady_clock;

double ms_since(clock::time_point start) {
  return std::chrono::duration<double, std::milli>(clock::now() - start).count();
}

/// What one chunk adds: the text of a chat delta or of a legacy completion.
std::string text_of(const json& choice) {
  return choice.contains("delta") ? text(part(choice, "delta"), "content") : text(choice, "text");
}

}  // namespace

result<turn> ask(const cluster_client& cluster, const std::string& target, json body,
                 const std::function<void(const std::string&)>& show) {
  turn t;
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  const auto start = clock::now();
  const auto streamed = cluster.stream(target, body, [&](const json& event) {
    t.model = text(event, "model", t.model);
    t.tokens = static_cast<unsigned>(number(part(event, "usage"), "completion_tokens", t.tokens));
    const json& choices = part(event, "choices");
    if (!choices.is_array() || choices.empty()) return true;
    t.finish_reason = text(choices[0], "finish_reason", t.finish_reason);
    const std::string piece = text_of(choices[0]);
    if (piece.empty()) return true;
    if (t.ttft_ms == 0) t.ttft_ms = ms_since(start);
    t.answer += piece;
    show(piece);
    return true;
  });
  if (!streamed) return streamed.failure();
  t.total_ms = ms_since(start);
  return t;
}

std::string footer(const turn& t, const std::string& node) {
  const double decode_s = (t.total_ms - t.ttft_ms) / 1000;
  const double rate = t.tokens > 1 && decode_s > 0 ? (t.tokens - 1) / decode_s : 0;
  char numbers[96];
  std::snprintf(numbers, sizeof numbers, " · TTFT %.0f ms · %.1f tok/s", t.ttft_ms, rate);
  return t.model + numbers + (node.empty() ? "" : " · " + node);
}

json turn_json(const turn& t, const std::string& node) {
  return {{"answer", t.answer},
          {"model", t.model},
          {"ttft_ms", t.ttft_ms},
          {"completion_tokens", t.tokens},
          {"finish_reason", t.finish_reason},
          {"node", node}};
}

}  // namespace collm::cli
