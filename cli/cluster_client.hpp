// A running cluster as the verbs see it: the public API and /admin/v1, nothing else. Blocking; main
// thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/http_client.hpp"
#include "cli/console.hpp"
#include "cli/flags.hpp"
#include "messages/result.hpp"

namespace collm::cli {

/// A node whose gateway answers for a site.
struct site_gateway {
  std::string site, node;
  std::string url;    ///< "http://127.0.0.1:8081"
  std::string state;  ///< "serving", "lost", ...
};

class cluster_client {
 public:
  static result<cluster_client> connect(const cluster_flags& flags);

  result<json> get(const std::string& target) const;
  result<json> post(const std::string& target, const json& body,
                    std::chrono::milliseconds silence = std::chrono::seconds(60)) const;
  /// POST /v1/files: JSONL, whole lines.
  result<json> upload(const std::string& file_name, const std::string& text) const;
  /// The body as it came, with its headers.
  result<bench::http_reply> get_bytes(const std::string& target) const;
  /// Streams a completion; each event's JSON goes to `to`, which may end it by false.
  result<void> stream(const std::string& target, const json& body,
                      const std::function<bool(const json&)>& to) const;

  /// ClusterStatus as JSON (messages/events.capnp).
  result<json> status() const { return get("/admin/v1/status"); }
  bool answers() const;
  const std::string& url() const { return url_; }

 private:
  cluster_client(bench::http_client http, std::string url, std::string key);
  bench::http_call call(std::string method, std::string target) const;
  result<json> understood(const result<bench::http_reply>& reply) const;
  error unreachable(const error& why) const;

  bench::http_client http_;
  std::string url_, key_;
};

/// The gateways that a status names, serving ones first within a site. Of a node's own status: that
/// node.
std::vector<site_gateway> site_gateways(const json& status);

/// A key for an https head is not said in the clear to a gateway that the head only names.
result<void> may_hear_the_key(const cluster_flags& entry, const site_gateway& to);
result<cluster_client> connect_gateway(const cluster_flags& entry, const site_gateway& to);

/// The serving gateway of `site`, or the only one; refuses with the sites there are.
result<site_gateway> gateway_of(const json& status, const std::string& site);

/// A client of the gateway of `site`, and that node's name; with a tenant's key of `entry` and "".
result<std::pair<cluster_client, std::string>> connect_site(const cluster_flags& entry,
                                                            const std::string& site);

/// "overloaded: ..." of an OpenAI error body, or the status alone.
error failure_of(const bench::http_reply& reply);

// -- reading JSON that came from outside: absent or of another type is the fallback
double number(const json& from, const char* name, double otherwise = 0);
std::string text(const json& from, const char* name, const std::string& otherwise = "");
const json& part(const json& from, const char* name);

}  // namespace collm::cli
