#include "gateway/json_body.hpp"

#include "messages/json_text.hpp"

namespace collm::gateway {
namespace {

using json = nlohmann::json;

// The library's text starts with "[json.exception.parse_error.101] ".
std::string plain(std::string text) {
  const auto end = text.find("] ");
  return end == std::string::npos ? text : text.substr(end + 2);
}

}  // namespace

result<json> parse_object(std::string_view text, std::uint32_t depth_max) {
  if (text.empty()) return error{errc::bad_request, "the body is empty; a JSON object is expected"};
  if (!nests_within(text, depth_max)) {
    return error{errc::bad_request,
                 "the body nests deeper than " + std::to_string(depth_max) + " levels"};
  }
  json document;
  try {
    document = json::parse(text);
  } catch (const json::exception& e) {
    return error{errc::bad_request, "the body is not valid JSON: " + plain(e.what())};
  }
  if (!document.is_object()) {
    return error{errc::bad_request, std::string("the body is a JSON ") + document.type_name() +
                                        "; a JSON object is expected"};
  }
  return document;
}

}  // namespace collm::gateway
