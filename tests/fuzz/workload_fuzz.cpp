// Any bytes as a workload file: refused with the line's number, or requests within their bounds
// that are the same when written and read again.
#include <cstdint>
#include <sstream>
#include <string>

#include "bench/workload.hpp"
#include "messages/assert.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace collm::bench;
  const workload_limits bounds;
  std::istringstream in(std::string(reinterpret_cast<const char*>(data), size));
  const auto read = read_workload(in, "w.jsonl", bounds);
  if (!read) {
    COLLM_ASSERT(read.failure().message.starts_with("w.jsonl"));
    return 0;
  }
  for (const auto& r : read->requests) {
    COLLM_ASSERT(r.t_ms <= bounds.t_ms_max && r.max_tokens <= bounds.max_tokens_max);
    COLLM_ASSERT(!r.messages.empty() && r.messages.size() <= bounds.messages_max);
  }
  std::stringstream again;
  write_workload(again, *read);
  const auto same = read_workload(again, "again.jsonl", bounds);
  COLLM_ASSERT(same && same->requests.size() == read->requests.size());
  return 0;
}
