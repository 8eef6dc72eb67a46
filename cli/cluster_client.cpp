#include "cli/cluster_client.hpp"

#include <algorithm>

#include "messages/json_text.hpp"

namespace collm::cli {
namespace {

errc code_of(unsigned status) {
  switch (status) {
    case 400:
      return errc::bad_request;
    case 401:
      return errc::unauthorized;
    case 403:
      return errc::forbidden;
    case 404:
      return errc::not_found;
    case 409:
      return errc::conflict;
    case 413:
      return errc::too_large;
    case 429:
      return errc::rate_limited;
    case 503:
      return errc::overloaded;
    default:
      return errc::internal;
  }
}

json parsed(const std::string& body) { return parse_json<json>(body); }

site_gateway gateway_from(const json& snapshot, const json& node, const std::string& state) {
  const std::string address = text(snapshot, "httpAddress");
  return {text(snapshot, "site", text(node, "site")), text(snapshot, "node", text(node, "name")),
          address.empty() || address.starts_with("http") ? address : "http://" + address, state};
}

}  // namespace

double number(const json& from, const char* name, double otherwise) {
  const json& value = part(from, name);
  return value.is_number() ? value.get<double>() : otherwise;
}

std::string text(const json& from, const char* name, const std::string& otherwise) {
  const json& value = part(from, name);
  return value.is_string() ? value.get<std::string>() : otherwise;
}

const json& part(const json& from, const char* name) {
  static const json nothing;
  if (!from.is_object()) return nothing;
  const auto found = from.find(name);
  return found == from.end() ? nothing : *found;
}

error failure_of(const bench::http_reply& reply) {
  const json body = parsed(reply.body);
  const std::string message = text(part(body, "error"), "message");
  const std::string status = "HTTP " + std::to_string(reply.status);
  return {code_of(reply.status), message.empty() ? status : message + " (" + status + ")"};
}

cluster_client::cluster_client(bench::http_client http, std::string url, std::string key)
    : http_(std::move(http)), url_(std::move(url)), key_(std::move(key)) {}

result<cluster_client> cluster_client::connect(const cluster_flags& flags) {
  auto server = bench::parse_url(flags.url);
  if (!server) return server.failure();
  return cluster_client(bench::http_client(std::move(*server), flags.ca), flags.url, flags.key);
}

bench::http_call cluster_client::call(std::string method, std::string target) const {
  bench::http_call c;
  c.method = std::move(method);
  c.target = std::move(target);
  if (!key_.empty()) c.headers.emplace_back("Authorization", "Bearer " + key_);
  return c;
}

error cluster_client::unreachable(const error& why) const {
  if (why.code != errc::unavailable) return why;
  return {why.code, "nothing answers at " + url_ +
                        "; start a cluster with collm up, or name another with --url (" +
                        why.message + ")"};
}

result<json> cluster_client::understood(const result<bench::http_reply>& reply) const {
  if (!reply) return unreachable(reply.failure());
  if (!reply->ok()) return failure_of(*reply);
  json body = parsed(reply->body);
  if (body.is_discarded())
    return error{errc::corrupt,
                 url_ + " answered something that is not JSON: is it a CoLLM gateway?"};
  return body;
}

result<json> cluster_client::get(const std::string& target) const {
  return understood(http_.send(call("GET", target)));
}

result<json> cluster_client::post(const std::string& target, const json& body,
                                  std::chrono::milliseconds silence) const {
  bench::http_call c = call("POST", target);
  c.body = body.dump(-1, ' ', false, json::error_handler_t::replace);
  c.silence_timeout = silence;
  return understood(http_.send(c));
}

result<json> cluster_client::upload(const std::string& file_name, const std::string& text) const {
  // A boundary must not stand in the text: JSON has no line that starts with dashes.
  const std::string boundary = "collm-form-boundary-7f3a";
  const std::string field = "--" + boundary + "\r\nContent-Disposition: form-data; name=";
  bench::http_call c = call("POST", "/v1/files");
  c.headers.emplace_back("Content-Type", "multipart/form-data; boundary=" + boundary);
  c.body = field + "\"purpose\"\r\n\r\nfine-tune\r\n" + field + "\"file\"; filename=\"" +
           file_name + "\"\r\n\r\n" + text + "\r\n--" + boundary + "--\r\n";
  c.silence_timeout = std::chrono::minutes(3);
  return understood(http_.send(c));
}

result<bench::http_reply> cluster_client::get_bytes(const std::string& target) const {
  auto reply = http_.send(call("GET", target));
  if (!reply) return unreachable(reply.failure());
  if (!reply->ok()) return failure_of(*reply);
  return reply;
}

result<void> cluster_client::stream(const std::string& target, const json& body,
                                    const std::function<bool(const json&)>& to) const {
  bench::http_call c = call("POST", target);
  c.body = body.dump(-1, ' ', false, json::error_handler_t::replace);
  std::optional<error> broken;
  bool ended = false;
  const auto reply = http_.stream(c, [&](std::string_view data) {
    if (data == "[DONE]") return ended = true;
    const json event = parsed(std::string(data));
    if (event.is_discarded())
      broken = error{errc::corrupt, "a stream event is not JSON"};
    else if (event.contains("error"))
      broken = error{errc::internal, text(event["error"], "message", "the stream broke off")};
    const bool go_on = !broken && to(event);
    ended = ended || !go_on;
    return go_on;
  });
  if (!reply) return unreachable(reply.failure());
  if (!reply->ok()) return failure_of(*reply);
  if (broken) return *broken;
  if (!ended) return error{errc::unavailable, "the answer broke off before its end"};
  return {};
}

bool cluster_client::answers() const {
  return static_cast<bool>(http_.send(call("GET", "/health")));
}

std::vector<site_gateway> site_gateways(const json& status) {
  std::vector<site_gateway> all;
  const json& nodes = part(status, "nodes");
  if (nodes.is_array()) {
    for (const json& node : nodes)
      all.push_back(gateway_from(part(node, "snapshot"), node, text(node, "state")));
  }
  if (all.empty() && !text(part(status, "head"), "site").empty()) {
    all.push_back(gateway_from(part(status, "head"), json(), "serving"));
  }
  std::erase_if(all, [](const site_gateway& g) { return g.url.empty(); });
  std::stable_sort(all.begin(), all.end(), [](const site_gateway& a, const site_gateway& b) {
    return (a.state == "serving") > (b.state == "serving");
  });
  return all;
}

result<site_gateway> gateway_of(const json& status, const std::string& site) {
  std::vector<site_gateway> all = site_gateways(status);
  std::string sites;
  for (const site_gateway& g : all) {
    if (g.site == site || (site.empty() && all.size() == 1)) return g;
    sites += (sites.empty() ? "" : ", ") + g.site;
  }
  if (sites.empty())
    return error{errc::unavailable, "no node of this cluster serves yet; collm status tells why"};
  return error{errc::bad_request,
               (site.empty() ? "name a site with --site" : "no site \"" + site + "\"") +
                   std::string("; there are: ") + sites};
}

result<void> may_hear_the_key(const cluster_flags& entry, const site_gateway& to) {
  if (entry.key.empty() || !entry.url.starts_with("https:") || to.url.starts_with("https:"))
    return {};
  return error{errc::forbidden, "the key is not sent to " + to.node + " at " + to.url +
                                    ": the head speaks TLS, that gateway does not; give it "
                                    "gateway.tls, or ask it by its own --url"};
}

result<cluster_client> connect_gateway(const cluster_flags& entry, const site_gateway& to) {
  if (auto may = may_hear_the_key(entry, to); !may) return may.failure();
  return cluster_client::connect({to.url, entry.key, entry.ca});
}

result<std::pair<cluster_client, std::string>> connect_site(const cluster_flags& entry,
                                                            const std::string& site) {
  auto cluster = cluster_client::connect(entry);
  if (!cluster) return cluster.failure();
  const auto status = cluster->status();
  // A tenant's key opens no admin path, and has its site: any gateway that takes it will do.
  if (!status && status.failure().code == errc::unauthorized && !entry.key.empty())
    return std::pair{std::move(*cluster), std::string()};
  if (!status) return status.failure();
  const auto gateway = gateway_of(*status, site);
  if (!gateway) return gateway.failure();
  auto there = connect_gateway(entry, *gateway);
  if (!there) return there.failure();
  return std::pair{std::move(*there), gateway->node};
}

}  // namespace collm::cli
