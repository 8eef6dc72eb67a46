// The workload file: what is asked when, by whom, and which answer is right. JSONL, shared by
// player, tests, bench and dashboard. The first line may be a header that tells how the file was
// made:
//   {"workload":1,"made":{...}}
// Every other line is one request, in the order of t_ms:
//   {"t_ms":120,"tenant":"kitchen","site":"kitchen","adapter":"assistant",
//    "messages":[{"role":"user","content":"…"}],
//    "reference":"…","scorer":"exact","max_tokens":40,"split":"served"}
// t_ms and messages must be there; the others have the defaults of `request`. Pure; any thread.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "demo/demo.hpp"
#include "demo/scorer.hpp"
#include "messages/result.hpp"

namespace collm::bench {

using demo::message;
using demo::scorer;

struct request {
  std::uint64_t t_ms = 0;  ///< planned send time from the start of the run
  std::string tenant;
  std::string site;
  std::string adapter;  ///< empty: the base
  std::vector<message> messages;
  std::string reference;
  scorer judged_by = scorer::none;
  std::uint32_t max_tokens = 64;
  std::string split = "served";
};

struct workload {
  std::string made =
      "{}";  ///< JSON object of the header: source, scales, seed; for people and reports
  std::vector<request> requests;
};

/// Bounds of one file; beyond them it is refused with the line's number.
struct workload_limits {
  std::size_t line_bytes_max = 1u << 20;  ///< as the gateway's body
  std::size_t requests_max = 1'000'000;
  std::uint64_t t_ms_max = 7u * 86'400'000u;  ///< a week
  std::uint32_t max_tokens_max = 32'768;
  std::size_t messages_max = 1024;
  std::size_t name_bytes_max = 128;  ///< tenant, site, adapter, split
};

/// `name` stands in error messages: "day.jsonl:12: …".
result<workload> read_workload(std::istream& in, const std::string& name,
                               const workload_limits& bounds = {});
result<workload> read_workload_file(const std::string& path, const workload_limits& bounds = {});

/// Header and one line a request; reading it back gives an equal workload.
void write_workload(std::ostream& out, const workload& w);
result<void> write_workload_file(const std::string& path, const workload& w);

}  // namespace collm::bench
