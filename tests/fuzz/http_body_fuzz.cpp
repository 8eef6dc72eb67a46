// Bytes of an HTTP body: whatever comes, it is parsed or refused, what is refused says why, and
// what is parsed keeps the limits. The first byte chooses a chat, a completion, or a form; a form's
// Content-Type ends with the first line.
#include <algorithm>
#include <cstdint>
#include <functional>
#include <string_view>

#include "gateway/completion_request.hpp"
#include "gateway/multipart.hpp"
#include "messages/assert.hpp"

using namespace collm;

namespace {

void check_completion(std::string_view body, gateway::completion_kind kind) {
  const limits bounds;
  const auto parsed = gateway::parse_completion(body, kind, bounds);
  if (const auto* refused = std::get_if<gateway::api_error>(&parsed)) {
    COLLM_ASSERT(refused->condition.status == 400 && !refused->message.empty());
    COLLM_ASSERT(!gateway::error_json(*refused).empty());
    return;
  }
  const auto& request = std::get<gateway::completion_request>(parsed);
  COLLM_ASSERT(request.choices >= 1 && request.choices <= bounds.choices_max);
  COLLM_ASSERT(request.stops.size() <= bounds.stop_strings_max);
  COLLM_ASSERT(request.temperature >= 0 && request.temperature <= 2 && request.top_p > 0);
  COLLM_ASSERT(request.logprobs >= -1 &&
               request.logprobs <= static_cast<int>(bounds.top_logprobs_max));
  const auto message = gateway::build_request(request, {{1, 2}, 3}, {});
  COLLM_ASSERT(msg<schema::Request>::from_bytes(message.bytes()));
}

void check_form(std::string_view text) {
  const auto line = std::min(text.find('\n'), text.size());
  const auto body = text.substr(std::min(line + 1, text.size()));
  const auto parts = gateway::parse_form(text.substr(0, line), body);
  if (!parts) {
    const auto code = parts.failure().code;
    COLLM_ASSERT(code == errc::bad_request || code == errc::too_large);
    return COLLM_ASSERT(!parts.failure().message.empty());
  }
  COLLM_ASSERT(parts->size() <= gateway::form_parts_max);
  const std::less_equal<const char*> before;
  const char* free_from = body.data();
  for (const auto& part : *parts) {  // one behind the other, within the body
    COLLM_ASSERT(!part.name.empty() && before(free_from, part.content.data()));
    free_from = part.content.data() + part.content.size();
    COLLM_ASSERT(before(free_from, body.data() + body.size()));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      check_completion(rest, gateway::completion_kind::chat);
      break;
    case 1:
      check_completion(rest, gateway::completion_kind::text);
      break;
    default:
      check_form(rest);
  }
  return 0;
}
