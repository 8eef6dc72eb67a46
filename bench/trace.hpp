// When requests arrive and how long they are: from a recorded trace, or drawn from a rate. Pure;
// any thread.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace collm::bench {

/// One arrival. Lengths of 0: the source tells none.
struct arrival {
  std::uint64_t t_ms = 0;  ///< from the first arrival of the trace, or from the start
  std::uint32_t prompt_tokens = 0;
  std::uint32_t answer_tokens = 0;
};

/// Which part of a trace.
struct trace_cut {
  std::uint64_t skip = 0;
  std::uint64_t limit = 10'000;
};

inline constexpr std::uint64_t arrivals_max = 1'000'000;

/// CSV with the columns of the Azure LLM inference traces: TIMESTAMP (YYYY-MM-DD hh:mm:ss.fffffff),
/// ContextTokens, GeneratedTokens. Times are counted from the first arrival kept. A wrong line is
/// refused by its number.
result<std::vector<arrival>> read_trace(std::istream& in, const std::string& name, trace_cut cut);
result<std::vector<arrival>> read_trace_file(const std::string& path, trace_cut cut);

enum class spacing : std::uint8_t { poisson, uniform };

/// `count` arrivals at `per_second` on average; the same on every machine for the same seed.
std::vector<arrival> arrivals_at_rate(spacing how, double per_second, std::uint64_t count,
                                      std::uint64_t seed);

}  // namespace collm::bench
