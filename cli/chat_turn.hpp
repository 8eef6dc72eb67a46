// One streamed answer for a person: prints text as it comes, measures it. Used by chat and infer.
// Main thread.
#pragma once

#include <functional>
#include <string>

#include "cli/cluster_client.hpp"

namespace collm::cli {

struct turn {
  std::string answer;
  std::string model;  ///< "assistant@0"
  std::string finish_reason;
  double ttft_ms = 0, total_ms = 0;
  unsigned tokens = 0;
};

/// Asks and streams; `show` gets each piece of text. `body` is a chat or completions request
/// without `stream`.
result<turn> ask(const cluster_client& cluster, const std::string& target, json body,
                 const std::function<void(const std::string&)>& show);

/// "assistant@0 · TTFT 120 ms · 35.0 tok/s · edge-a"
std::string footer(const turn& t, const std::string& node);

/// The same, and the answer, for --output json.
json turn_json(const turn& t, const std::string& node);

}  // namespace collm::cli
