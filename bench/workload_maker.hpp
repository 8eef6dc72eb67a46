// Combines arrivals (times and lengths) with texts (prompts and right answers) into a workload;
// every scale and seed that was used is stated in the file's header. Pure but for reading the named
// file; any thread.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "bench/trace.hpp"
#include "bench/workload.hpp"

namespace collm::bench {

/// What is asked, without a time.
struct text {
  std::string site;
  std::vector<message> messages;
  std::string reference;
  scorer judged_by = scorer::none;
  std::string split = "served";
};

/// `count` demo texts, the sites in random turns; at most demo::examples_max distinct ones of each
/// site, then from the start.
result<std::vector<text>> demo_texts(const std::vector<demo::site>& sites, demo::split part,
                                     std::uint64_t count, std::uint64_t seed);

/// A data set as JSONL: each line {"messages":[…]} whose last message is the assistant's, or
/// {"prompt","completion"}. The sites take turns. Other fields are ignored, as data sets carry what
/// they like; a wrong line is refused by its number.
result<std::vector<text>> read_texts(std::istream& in, const std::string& name,
                                     const std::vector<std::string>& sites, scorer judged_by);
result<std::vector<text>> read_texts_file(const std::string& path,
                                          const std::vector<std::string>& sites, scorer judged_by);

/// What to do with a prompt whose arrival tells its length.
enum class fit : std::uint8_t {
  as_is,       ///< nothing: the text's own length
  pad_and_cut  ///< shorter: made-up log lines in the system message; longer: the last user message
               ///< loses its beginning, but only where no reference judges the answer
};

struct making {
  double time_scale = 1.0;    ///< t_ms of the file = this times the arrival's
  double length_scale = 1.0;  ///< tokens of the file = this times the arrival's
  fit prompts = fit::as_is;
  double bytes_per_token = 4.0;   ///< how prompt tokens are counted here, without a tokenizer
  std::uint32_t max_tokens = 64;  ///< where the arrival tells no length
  std::string tenant;             ///< empty: the site's name
  std::string adapter = "assistant";
  std::uint64_t seed = 1;
  std::string arrivals_from;  ///< stated in the header: the trace's name and cut, or the rate
  std::string texts_from;     ///< stated in the header
};

/// One request an arrival; texts are taken in turn. max_tokens = the scaled answer length, but
/// enough for the reference: a model that has learned to stop ends before it.
result<workload> make_workload(const std::vector<arrival>& arrivals, const std::vector<text>& texts,
                               const making& how);

/// A trace told as the header states it: "NAME lines 101 to 300".
std::string told(const std::string& trace_name, trace_cut cut, std::size_t kept);

}  // namespace collm::bench
