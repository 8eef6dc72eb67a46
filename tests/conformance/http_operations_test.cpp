// Probes, models, adapters, admin, events, the page.
#include <arpa/inet.h>

#include "gateway/listener.hpp"
#include "tests/support/http_fixture.hpp"

namespace collm::gateway::fake {
namespace {

using testing::HasSubstr;

class http_operations : public http_test {};

TEST_F(http_operations, health_tells_what_is_wrong_and_ready_is_separate) {
  EXPECT_EQ(ask("GET", "/health").status, 200u);
  runtime.is_ready = false;
  EXPECT_EQ(ask("GET", "/health").status, 200u);
  const auto draining = ask("GET", "/ready");
  EXPECT_EQ(draining.status, 503u);
  EXPECT_THAT(error_of(draining)["message"].get<std::string>(), HasSubstr("starting or draining"));
  runtime.is_ready = true;
  runtime.is_healthy = false;
  const auto sick = ask("GET", "/health");
  EXPECT_EQ(sick.status, 503u);
  EXPECT_THAT(error_of(sick)["message"].get<std::string>(), HasSubstr("no turn for 12 s"));
  EXPECT_EQ(ask("GET", "/ready").status, 200u);
}

TEST_F(http_operations, health_answers_while_the_runtime_answers_nothing) {
  runtime.hold_status = true;
  auto stuck = peer();
  stuck.send(stuck.request("GET", "/admin/v1/status"));
  EXPECT_TRUE(runtime.wait_pending_status());
  runtime.is_healthy = false;
  EXPECT_EQ(ask("GET", "/health").status, 503u);
}

TEST_F(http_operations, models_are_listed_with_root_and_parent) {
  EXPECT_EQ(ask("GET", "/v1/models").body,
            R"({"object":"list","data":[{"id":"tiny","object":"model","created":1700000000,)"
            R"("owned_by":"collm","root":"tiny.gguf","parent":null},)"
            R"({"id":"assistant","object":"model","created":1700000001,"owned_by":"collm",)"
            R"("root":"peft:a","parent":"tiny"}]})");
}

TEST_F(http_operations, one_model_is_found_by_its_escaped_id) {
  runtime.model_rows.push_back({"assistant@3", "peft:a", "tiny", 5});
  EXPECT_EQ(parsed(ask("GET", "/v1/models/assistant%403").body)["id"], "assistant@3");
  const auto missing = ask("GET", "/v1/models/nobody");
  EXPECT_EQ(missing.status, 404u);
  EXPECT_EQ(error_of(missing)["code"], "model_not_found");
}

TEST_F(http_operations, metrics_are_prometheus_text_with_the_gateways_own) {
  const auto r = ask("GET", "/metrics");
  EXPECT_EQ(r.headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_TRUE(r.body.starts_with("collm_fake 1\n"));
  EXPECT_THAT(r.body, HasSubstr("\ncollm_gateway_connections 1\n"));
  EXPECT_TRUE(r.body.ends_with('\n'));
}

TEST_F(http_operations, version_is_that_of_the_options) {
  options.version = "9.8.7";
  EXPECT_EQ(ask("GET", "/version").body, R"({"version":"9.8.7"})");
}

TEST_F(http_operations, an_adapter_is_loaded_and_its_record_returned) {
  std::string seen;
  runtime.on_load = [&](const std::string& name, const std::string& folder) {
    seen = name + "|" + folder;
    return result<msg<schema::VersionRecord>>(port::record(name));
  };
  const auto r =
      ask("POST", "/v1/load_lora_adapter", R"({"lora_name":"chef","lora_path":"/data/chef"})");
  EXPECT_EQ(r.status, 200u);
  EXPECT_EQ(seen, "chef|/data/chef");
  EXPECT_EQ(parsed(r.body)["number"], 4);
  EXPECT_EQ(parsed(r.body)["state"], "serving");
  EXPECT_EQ(ask("POST", "/v1/unload_lora_adapter", R"({"lora_name":"chef"})").status, 200u);
  EXPECT_EQ(seen, "chef|");
}

TEST_F(http_operations, a_failed_load_is_4xx_and_keeps_the_reason) {
  for (const auto code :
       {errc::corrupt, errc::io, errc::not_found, errc::conflict, errc::bad_request}) {
    runtime.on_load = [&](const std::string&, const std::string&) {
      return result<msg<schema::VersionRecord>>(
          error{code, "tensor q_proj.lora_A has rank 3, not 8", 0});
    };
    const auto r = ask("POST", "/v1/load_lora_adapter", R"({"lora_name":"chef","lora_path":"x"})");
    EXPECT_GE(r.status, 400u);
    EXPECT_LT(r.status, 500u);
    EXPECT_THAT(error_of(r)["message"].get<std::string>(), HasSubstr("q_proj.lora_A"));
  }
}

TEST_F(http_operations, a_load_without_its_fields_names_them) {
  for (const auto& [body, param] : std::vector<std::pair<const char*, const char*>>{
           {"{}", "lora_name"},
           {R"({"lora_name":""})", "lora_name"},
           {R"({"lora_name":"a"})", "lora_path"},
           {R"({"lora_name":"a","lora_path":5})", "lora_path"},
           {R"({"lora_name":"a","lora_path":"b\u0000c"})", "lora_path"}}) {
    const auto r = ask("POST", "/v1/load_lora_adapter", body);
    EXPECT_EQ(r.status, 400u);
    EXPECT_EQ(error_of(r)["param"], param) << body;
  }
}

TEST_F(http_operations, status_is_the_schema_as_json) {
  const auto r = parsed(ask("GET", "/admin/v1/status").body);
  EXPECT_EQ(r["cluster"], "demo");
  EXPECT_EQ(r["nodes"][0]["state"], "serving");
}

/// Who may take part, as a head that knows edge-c alone.
struct members_double final : nodes_port {
  std::vector<std::string> told;
  void join_token(std::string node, std::uint32_t lives_s, reply<std::string> to) override {
    told.push_back("token " + node + " " + std::to_string(lives_s));
    to(node == "edge-c" ? result<std::string>("collm1/secret") : unknown(node));
  }
  void revoke(std::string node, reply<void> to) override { act("revoke ", node, to); }
  void rotate(std::string node, reply<void> to) override { act("rotate ", node, to); }

 private:
  static error unknown(const std::string& node) {
    return {errc::not_found, "the manifest has no node '" + node + "'"};
  }
  void act(const std::string& what, const std::string& node, const reply<void>& to) {
    told.push_back(what + node);
    to(node == "edge-c" ? result<void>() : unknown(node));
  }
};

TEST_F(http_operations, who_takes_part_is_asked_of_the_head) {
  EXPECT_THAT(ask("POST", "/admin/v1/nodes/token", R"({"node":"edge-c"})").body,
              HasSubstr("at the head's gateway"));
  members_double members;
  runtime.members = &members;
  const auto made = parsed(ask("POST", "/admin/v1/nodes/token", R"({"node":"edge-c"})").body);
  EXPECT_EQ(made["token"], "collm1/secret");
  EXPECT_EQ(made["expires_in_s"], 600);
  EXPECT_EQ(ask("POST", "/admin/v1/nodes/token", R"({"node":"edge-x","ttl_s":5})").status, 404u);
  EXPECT_EQ(ask("POST", "/admin/v1/nodes/token", R"({"node":"edge-c","ttl_s":0})").status, 400u);
  EXPECT_EQ(ask("POST", "/admin/v1/nodes/token", R"({"ttl_s":60})").status, 400u);
  EXPECT_EQ(ask("POST", "/admin/v1/nodes/revoke", R"({"node":"edge-c"})").body,
            R"({"status":"ok"})");
  EXPECT_EQ(ask("POST", "/admin/v1/nodes/revoke", R"({"node":"edge-x"})").status, 404u);
  EXPECT_EQ(ask("POST", "/admin/v1/nodes/rotate", R"({"node":"edge-c"})").status, 200u);
  EXPECT_EQ(members.told,
            (std::vector<std::string>{"token edge-c 600", "token edge-x 5", "revoke edge-c",
                                      "revoke edge-x", "rotate edge-c"}));
}

TEST_F(http_operations, a_drain_reaches_the_runtime) {
  EXPECT_EQ(ask("POST", "/admin/v1/drain", R"({"node":"edge-b"})").body, R"({"status":"ok"})");
  EXPECT_EQ(runtime.drained, "edge-b");
  EXPECT_EQ(ask("POST", "/admin/v1/drain", R"({"node":"edge-b","restart":true})").status, 200u);
  EXPECT_EQ(runtime.drained, "edge-b, again");
  EXPECT_EQ(ask("POST", "/admin/v1/drain").status, 200u);
  EXPECT_EQ(runtime.drained, "");
  EXPECT_EQ(ask("POST", "/admin/v1/drain", R"({"node":"nobody"})").status, 404u);
  EXPECT_EQ(ask("POST", "/admin/v1/drain", R"({"node":5})").status, 400u);
}

TEST_F(http_operations, a_drain_has_a_deadline_within_bounds) {
  EXPECT_EQ(ask("POST", "/admin/v1/drain", R"({"node":"edge-b"})").status, 200u);
  EXPECT_EQ(runtime.drain_deadline, std::chrono::seconds(30));
  for (const char* within : {"0", "1500", "600000"}) {
    const auto body = R"({"node":"edge-b","deadline_ms":)" + std::string(within) + "}";
    EXPECT_EQ(ask("POST", "/admin/v1/drain", body).status, 200u) << within;
    EXPECT_EQ(std::to_string(runtime.drain_deadline.count()), within);
  }
  for (const char* beyond : {"-1", "600001", "1.5", "\"2s\""}) {
    const auto body = R"({"node":"edge-b","deadline_ms":)" + std::string(beyond) + "}";
    const auto refused = ask("POST", "/admin/v1/drain", body);
    EXPECT_EQ(refused.status, 400u) << beyond;
    EXPECT_EQ(error_of(refused)["param"], "deadline_ms") << beyond;
  }
  EXPECT_EQ(runtime.drain_deadline, std::chrono::minutes(10)) << "what was refused went nowhere";
}

TEST_F(http_operations, a_shutdown_reaches_the_runtime) {
  EXPECT_EQ(ask("POST", "/admin/v1/shutdown").status, 200u);
  EXPECT_TRUE(runtime.shut_down);
}

TEST_F(http_operations, admin_paths_need_the_admin_key_where_one_is_set) {
  options.admin_key_sha256 = sha256_hex("root");
  for (const auto& [method, path] :
       std::vector<std::pair<const char*, const char*>>{{"GET", "/admin/v1/status"},
                                                        {"GET", "/admin/v1/events"},
                                                        {"POST", "/admin/v1/drain"},
                                                        {"POST", "/admin/v1/shutdown"},
                                                        {"POST", "/v1/load_lora_adapter"},
                                                        {"POST", "/v1/unload_lora_adapter"}}) {
    EXPECT_EQ(ask(method, path).status, 401u) << path;
    EXPECT_EQ(ask(method, path, {}, "Authorization: Bearer wrong\r\n").status, 401u) << path;
  }
  EXPECT_EQ(ask("GET", "/admin/v1/status", {}, "Authorization: Bearer root\r\n").status, 200u);
  EXPECT_FALSE(runtime.shut_down);
}

TEST_F(http_operations, events_stream_a_status_at_once_and_each_event_once) {
  options.events_interval = std::chrono::milliseconds(20);
  runtime.add_event(1, "node_joined");
  runtime.add_event(2, "version_loaded");
  auto client = peer();
  client.send(client.request("GET", "/admin/v1/events?after=1"));
  EXPECT_EQ(client.read_head().headers.at("content-type"), "text/event-stream; charset=utf-8");
  EXPECT_THAT(client.read_until("\n\n"), HasSubstr("event: status\ndata: {\"cluster\":\"demo\""));
  EXPECT_THAT(client.read_until("\n\n"), HasSubstr("event: event\nid: 2\ndata: {\"seq\":2"));
  EXPECT_THAT(client.read_until("\n\n"), HasSubstr("event: status\n"));
  runtime.add_event(3, "node_lost");
  const auto rest = client.read_until("node_lost");
  EXPECT_THAT(rest, HasSubstr("id: 3\n"));
  EXPECT_THAT(rest, testing::Not(HasSubstr("id: 2\n")));
}

TEST_F(http_operations, last_event_id_wins_over_the_query) {
  for (std::uint32_t seq = 1; seq <= 3; ++seq) runtime.add_event(seq, "x");
  auto client = peer();
  client.send(client.request("GET", "/admin/v1/events?after=0", {}, "Last-Event-ID: 2\r\n"));
  const auto all = client.read_until("\"seq\":3");
  EXPECT_THAT(all, testing::Not(HasSubstr("id: 1\n")));
  EXPECT_EQ(ask("GET", "/admin/v1/events?after=x").status, 400u);
}

TEST_F(http_operations, event_subscribers_are_bounded_and_their_places_freed) {
  options.bounds.event_subscribers_max = 2;
  options.events_interval = std::chrono::milliseconds(20);
  auto first = peer(), second = peer();
  for (auto* client : {&first, &second}) {
    client->send(client->request("GET", "/admin/v1/events"));
    EXPECT_EQ(client->read_head().status, 200u);
  }
  const auto refused = ask("GET", "/admin/v1/events");
  EXPECT_EQ(refused.status, 503u);
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  first.hang_up();
  unsigned status = 0;
  for (int i = 0; i < 1000 && status != 200; ++i) {
    auto again = peer();
    again.send(again.request("GET", "/admin/v1/events"));
    status = again.read_head().status;
  }
  EXPECT_EQ(status, 200u);
}

TEST_F(http_operations, a_socket_that_is_handed_to_the_server_keeps_who_came_before) {
  const auto socket = open_listener("127.0.0.1", 0);
  ASSERT_TRUE(socket) << socket.failure().message;
  sockaddr_in at{};
  socklen_t size = sizeof at;
  ASSERT_EQ(0, ::getsockname(*socket, reinterpret_cast<sockaddr*>(&at), &size));
  http_peer early(ntohs(at.sin_port));
  ASSERT_TRUE(early.connected());
  early.send(early.request("GET", "/health"));
  options.port = ntohs(at.sin_port);
  options.listener = *socket;
  EXPECT_EQ(server().port(), ntohs(at.sin_port));
  EXPECT_EQ(early.read_reply().status, 200u);
  EXPECT_EQ(ask("GET", "/health").status, 200u);
}

TEST_F(http_operations, an_address_that_is_taken_or_none_is_named) {
  const auto taken = open_listener("127.0.0.1", server().port());
  ASSERT_FALSE(taken);
  EXPECT_THAT(taken.failure().message, HasSubstr("127.0.0.1:" + std::to_string(server().port())));
  const auto none = open_listener("kitchen", 8080);
  ASSERT_FALSE(none);
  EXPECT_THAT(none.failure().message, HasSubstr("kitchen:8080"));
}

TEST_F(http_operations, head_of_events_ends) {
  auto client = peer();
  EXPECT_EQ(client.ask("HEAD", "/admin/v1/events").status, 200u);
  EXPECT_EQ(client.ask("GET", "/health").status, 200u);
}

constexpr asset page[] = {{"index.html", "text/html; charset=utf-8", "<!doctype html>page"},
                          {"assets/app.js", "text/javascript", "go()"}};

TEST_F(http_operations, the_page_is_served_with_a_policy_against_outside_requests) {
  options.role = gateway_role::head;
  options.assets = page;
  const auto root = ask("GET", "/");
  EXPECT_EQ(root.status, 302u);
  EXPECT_EQ(root.headers.at("location"), "/dashboard/");
  EXPECT_EQ(ask("GET", "/dashboard").headers.at("location"), "/dashboard/");
  const auto index = ask("GET", "/dashboard/");
  EXPECT_EQ(index.body, "<!doctype html>page");
  EXPECT_EQ(index.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_THAT(index.headers.at("content-security-policy"), HasSubstr("default-src 'none'"));
  EXPECT_THAT(index.headers.at("content-security-policy"), HasSubstr("connect-src 'self'"));
  EXPECT_EQ(ask("GET", "/dashboard/assets/app.js").body, "go()");
  EXPECT_EQ(ask("GET", "/dashboard/assets/none.js").status, 404u);
  EXPECT_EQ(ask("GET", "/dashboard/../version").status, 404u);
}

TEST_F(http_operations, a_nodes_gateway_has_no_page) {
  EXPECT_EQ(ask("GET", "/").status, 404u);
  EXPECT_EQ(ask("GET", "/dashboard/").status, 404u);
}

}  // namespace
}  // namespace collm::gateway::fake
