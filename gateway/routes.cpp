#include "gateway/routes.hpp"

#include <array>
#include <boost/asio/ip/address.hpp>
#include <string_view>

#include "gateway/byte_stream.hpp"

namespace collm::gateway {
namespace {

struct route {
  std::string_view method;
  std::string_view path;  ///< a trailing '*' matches any rest
  access_level level;
  handler run;
  bool metered = false;  ///< counts against the tenant's rate
  bool noted = false;    ///< in the trail though it is a GET, or a user's that the admin key asked
};

using enum access_level;

constexpr std::array routes{
    route{"POST", "/v1/chat/completions", user, handlers::chat_completions, true},
    route{"POST", "/v1/completions", user, handlers::completions, true},
    route{"GET", "/v1/models", user, handlers::models},
    route{"GET", "/v1/models/*", user, handlers::model},
    route{"POST", "/v1/load_lora_adapter", admin, handlers::load_adapter},
    route{"POST", "/v1/unload_lora_adapter", admin, handlers::unload_adapter},
    route{"POST", "/v1/feedback", user, handlers::feedback, true},
    route{"POST", "/v1/files", user, handlers::upload_file, true},
    route{"GET", "/v1/files", user, handlers::files},
    route{"GET", "/v1/files/*", user, handlers::file},
    route{"DELETE", "/v1/files/*", user, handlers::delete_file, false, true},
    route{"POST", "/v1/fine_tuning/jobs", user, handlers::create_job, true, true},
    route{"GET", "/v1/fine_tuning/jobs", user, handlers::jobs},
    route{"GET", "/v1/fine_tuning/jobs/*", user, handlers::job},
    route{"POST", "/v1/fine_tuning/jobs/*", user, handlers::cancel_job, false, true},
    route{"GET", "/health", open, handlers::health},
    route{"GET", "/ready", open, handlers::ready},
    route{"GET", "/metrics", admin, handlers::metrics},
    route{"GET", "/version", open, handlers::version},
    route{"GET", "/admin/v1/status", admin, handlers::status},
    route{"GET", "/admin/v1/events", admin, handlers::events},
    route{"POST", "/admin/v1/drain", admin, handlers::drain},
    route{"POST", "/admin/v1/shutdown", admin, handlers::shutdown},
    route{"POST", "/admin/v1/nodes/token", admin, handlers::join_token},
    route{"POST", "/admin/v1/nodes/revoke", admin, handlers::revoke_node},
    route{"POST", "/admin/v1/nodes/rotate", admin, handlers::rotate_node},
    route{"GET", "/admin/v1/audit", admin, handlers::audit},
    route{"GET", "/admin/v1/jobs", admin, handlers::admin_jobs},
    route{"POST", "/admin/v1/jobs", admin, handlers::admin_create_job},
    route{"POST", "/admin/v1/jobs/*", admin, handlers::admin_cancel_job},
    route{"GET", "/admin/v1/rounds", admin, handlers::rounds},
    route{"POST", "/admin/v1/rounds/replay", admin, handlers::replay},
    route{"POST", "/admin/v1/rounds/close", admin, handlers::close_round},
    route{"GET", "/admin/v1/explain", admin, handlers::explain},
    route{"POST", "/admin/v1/rollback", admin, handlers::rollback},
    route{"GET", "/admin/v1/factors", admin, handlers::factors, false, true},
    route{"GET", "/dashboard", open, handlers::dashboard},
    route{"GET", "/dashboard/*", open, handlers::dashboard},
    route{"GET", "/", open, handlers::root},
};

bool matches(std::string_view pattern, std::string_view path) {
  if (!pattern.ends_with('*')) return pattern == path;
  pattern.remove_suffix(1);
  return path.starts_with(pattern);
}

// A GET route answers HEAD too; OPTIONS is answered for every path that exists.
std::string allowed_methods(std::string_view path) {
  std::string out;
  for (const auto& r : routes) {
    if (!matches(r.path, path)) continue;
    out += r.method == "GET" ? "GET, HEAD, " : std::string(r.method) + ", ";
  }
  return out.empty() ? out : out + "OPTIONS";
}

const route* find(const http_request& request) {
  const std::string_view method =
      request.method == "HEAD" ? "GET" : std::string_view(request.method);
  for (const auto& r : routes) {
    if (r.method == method && matches(r.path, request.path)) return &r;
  }
  return nullptr;
}

http_response no_route(const http_request& request) {
  const auto allowed =
      request.path == "*" ? "GET, HEAD, POST, DELETE, OPTIONS" : allowed_methods(request.path);
  if (allowed.empty()) {
    return error_response({condition::unknown_url,
                           "there is no " + request.method + " " + request.path + " here",
                           {},
                           0});
  }
  http_response out;
  if (request.method == "OPTIONS") {
    out.status = 204;
  } else {
    out = error_response({condition::method_not_allowed,
                          request.path + " answers " + allowed + ", not " + request.method,
                          {},
                          0});
  }
  out.headers.emplace_back("allow", allowed);
  return out;
}

/// Who guesses keys waits between two guesses. Not on loopback: a proxy's clients have one address.
std::optional<api_error> check_key(http_context& context, const http_request& request,
                                   access_level level, caller& who) {
  const bool guess = !request.from_loopback && request.header("authorization") != nullptr;
  const auto now = authenticator::clock::now();
  const auto network =
      guess ? network_of(boost::asio::ip::make_address(request.peer)).to_string() : std::string();
  if (const double wait_ms = guess ? context.wrong.wait_ms(network, now) : 0; wait_ms > 0) {
    return api_error::of({errc::rate_limited, "too many wrong keys came from this address",
                          static_cast<std::uint32_t>(wait_ms)});
  }
  auto refused = context.access.check(request, level, who);
  if (guess && refused && refused->condition.status == 401) context.wrong.note(network, now);
  return refused;
}

}  // namespace

std::vector<std::string> route_names() {
  std::vector<std::string> out;
  for (const auto& r : routes) out.push_back(std::string(r.method) + " " + std::string(r.path));
  return out;
}

error not_ready(const port& runtime) {
  // How long a start or a drain takes is not known here, so the advice is a polite constant.
  constexpr std::uint32_t retry_ms = 1000;
  const auto why = runtime.healthy() ? runtime.not_ready_text() : runtime.health_text();
  return {errc::draining, "this gateway admits no requests now: " + why, retry_ms};
}

admission admit(http_context& context, const http_request& request) {
  admission out;
  const route* to = find(request);
  const auto level = to == nullptr ? open : to->level;
  if (auto refused = check_key(context, request, level, out.who)) {
    out.refusal = error_response(*refused);
  } else if (to == nullptr) {
    out.refusal = no_route(request);
  } else if (to->metered) {
    const auto now = authenticator::clock::now();
    if (auto limited = context.access.admit(out.who, now, out.headers))
      out.refusal = error_response(*limited);
  }
  if (out.refusal) return out;
  out.run = to->run;
  out.admin_act = to->level == access_level::admin ? to->method != "GET" || to->noted
                                                   : to->noted && out.who.admin;
  return out;
}

}  // namespace collm::gateway
