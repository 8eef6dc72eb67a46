// Rounds, verdicts, replays and jobs (messages/federation.capnp as JSON) on screen. Pure; what is
// lacking is shown as "-".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/console.hpp"

namespace collm::cli {

std::string rounds_text(const json& rounds);
std::string round_text(const json& round, const console& io);
std::string explanation_text(const json& explanation, const console& io);
std::string replay_text(const json& replay);
std::string jobs_text(const json& jobs);
std::string job_text(const json& job);

/// What a site's held-out data gained over all versions of a job: sums of the gate's differences
/// along the chain of parents. `versions` 0: none went live, or the site was not looked at.
struct held_out_gain {
  std::uint32_t versions = 0;
  double nats = 0;       ///< a token; > 0: better than before the job
  double sequences = 0;  ///< of the last look
};
/// Adds one promoted version's explanation.
void add_gain(held_out_gain& to, const json& explanation, const std::string& site);
std::string gain_text(const held_out_gain& gain, const std::string& site);

/// The round of that number, of `adapter` where that is not empty; null: there is none.
const json* find_round(const json& rounds, const std::string& adapter, std::uint32_t number);
/// The job of that id; null: there is none.
const json* find_job(const json& jobs, const std::string& id);

/// "assistant@3" or "assistant" (number 0); bad_request on anything else.
struct named_version {
  std::string adapter;
  std::uint32_t number = 0;
};
result<named_version> parse_version(const std::string& text);

/// Text of a JSONL file in parts of whole lines, each at most `bytes_max`; a longer line is a part
/// of its own, which the gateway will refuse by its size.
struct file_part {
  std::uint64_t lines_before = 0;
  std::string text;
};
std::vector<file_part> split_lines(const std::string& text, std::size_t bytes_max);

/// What adapting to a file costs at a site, by what its status tells of training now.
struct adapt_forecast {
  std::uint64_t lines = 0;
  double tokens = 0;             ///< about four bytes each
  double tokens_per_s = 0;       ///< that the site trains now; 0: it does not train now
  double read_tokens_per_s = 0;  ///< at which the site read a prompt just now; 0: was not asked
  double minutes = 0;            ///< of one pass over the file; 0: not known
  double training_bytes = 0;     ///< shadows, optimizers, activations; 0: the ledger does not tell
  double budget_bytes = 0;
};
adapt_forecast forecast(const std::string& text, const json& status, const std::string& site);
/// For a site that does not train now: by the speed at which it reads a prompt, tokens/s.
adapt_forecast forecast_by_reading(adapt_forecast f, double read_tokens_per_s);
std::string forecast_text(const adapt_forecast& f);
json forecast_json(const adapt_forecast& f);

}  // namespace collm::cli
