// Who may what: every route with every kind of key, and what is left behind of admin acts.
#include <nlohmann/json.hpp>

#include "gateway/routes.hpp"
#include "tests/support/http_fixture.hpp"

namespace collm::gateway::fake {
namespace {

using testing::HasSubstr;

/// "METHOD path" of every route, and for whom its key check lets pass: nobody's key, a user's of
/// this gateway's site, a user's of another site, the admin's.
struct rights {
  bool none, user, other_site, admin;
};
constexpr rights everybody{true, true, true, true}, users{false, true, false, true},
    admins{false, false, false, true};

const std::map<std::string, rights> route_rights = {
    {"GET /", everybody},
    {"GET /dashboard", everybody},
    {"GET /dashboard/*", everybody},
    {"GET /health", everybody},
    {"GET /ready", everybody},
    {"GET /version", everybody},
    {"DELETE /v1/files/*", users},
    {"GET /v1/files", users},
    {"GET /v1/files/*", users},
    {"GET /v1/fine_tuning/jobs", users},
    {"GET /v1/fine_tuning/jobs/*", users},
    {"GET /v1/models", users},
    {"GET /v1/models/*", users},
    {"POST /v1/chat/completions", users},
    {"POST /v1/completions", users},
    {"POST /v1/feedback", users},
    {"POST /v1/files", users},
    {"POST /v1/fine_tuning/jobs", users},
    {"POST /v1/fine_tuning/jobs/*", users},
    {"GET /admin/v1/audit", admins},
    {"GET /admin/v1/events", admins},
    {"GET /admin/v1/explain", admins},
    {"GET /admin/v1/factors", admins},
    {"GET /admin/v1/jobs", admins},
    {"GET /admin/v1/rounds", admins},
    {"GET /admin/v1/status", admins},
    {"GET /metrics", admins},
    {"POST /admin/v1/drain", admins},
    {"POST /admin/v1/nodes/token", admins},
    {"POST /admin/v1/nodes/revoke", admins},
    {"POST /admin/v1/nodes/rotate", admins},
    {"POST /admin/v1/jobs", admins},
    {"POST /admin/v1/jobs/*", admins},
    {"POST /admin/v1/rollback", admins},
    {"POST /admin/v1/rounds/close", admins},
    {"POST /admin/v1/rounds/replay", admins},
    {"POST /admin/v1/shutdown", admins},
    {"POST /v1/load_lora_adapter", admins},
    {"POST /v1/unload_lora_adapter", admins},
};

class kept_lines final : public audit_trail {
 public:
  void add(const std::string& line) override {
    const std::lock_guard lock(mutex_);
    lines_.push_back(line);
  }
  std::vector<std::string> last(std::size_t most) const override {
    const std::lock_guard lock(mutex_);
    const auto skip = lines_.size() - std::min(most, lines_.size());
    return {lines_.begin() + static_cast<std::ptrdiff_t>(skip), lines_.end()};
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

class http_access : public http_test {
 protected:
  site_double store;
  federation_double training;
  std::shared_ptr<kept_lines> trail = std::make_shared<kept_lines>();

  /// A node's gateway of the kitchen: a key of the workshop is none of its tenants'.
  http_access() {
    options.tenants = {{"cook", sha256_hex("cook-key"), "kitchen", true, 0, 0}};
    options.keys_required = true;
    options.admin_key_sha256 = sha256_hex("admin-key");
    options.audit = trail;
    options.name = "edge-a";
    runtime.store = &store;
    runtime.training = &training;
  }
  static std::string bearer(const std::string& key) {
    return key.empty() ? "" : "Authorization: Bearer " + key + "\r\n";
  }
  /// Not refused for its key.
  bool passes(const std::string& route, const std::string& key) {
    const auto space = route.find(' ');
    auto path = route.substr(space + 1);
    if (path.ends_with('*')) path.replace(path.size() - 1, 1, "x");
    auto client = peer();
    // A HEAD of a GET: it does what GET does and ends, a stream of events too. No completion runs,
    // since an empty body is none.
    const auto method = route.substr(0, space);
    const auto status = client.ask(method == "GET" ? "HEAD" : method, path, {}, bearer(key)).status;
    EXPECT_NE(status, 0u) << route;
    return status != 401 && status != 403;
  }
  nlohmann::json act(std::size_t index = 0) {
    const auto lines = trail->last(100);
    EXPECT_GT(lines.size(), index);
    return lines.size() > index ? parsed(lines[index]) : nlohmann::json();
  }
};

TEST_F(http_access, every_route_lets_pass_whom_the_table_says) {
  std::vector<std::string> listed;
  for (const auto& [route, who] : route_rights) {
    listed.push_back(route);
    EXPECT_EQ(passes(route, ""), who.none) << route << " without a key";
    EXPECT_EQ(passes(route, "wrong"), who.none) << route << " with a wrong key";
    EXPECT_EQ(passes(route, "cook-key"), who.user) << route << " with a user's key";
    EXPECT_EQ(passes(route, "workshop-key"), who.other_site) << route << " with another site's key";
    EXPECT_EQ(passes(route, "admin-key"), who.admin) << route << " with the admin's key";
  }
  EXPECT_THAT(route_names(), testing::UnorderedElementsAreArray(listed))
      << "a new route needs its line in the table above";
}

TEST_F(http_access, where_no_tenant_is_of_this_site_nobody_calls_without_a_key) {
  options.tenants.clear();
  EXPECT_FALSE(passes("GET /v1/models", ""));
  EXPECT_FALSE(passes("GET /v1/models", "cook-key"));
  EXPECT_TRUE(passes("GET /v1/models", "admin-key"));
}

TEST_F(http_access, a_key_of_one_site_stays_there_at_the_head_too) {
  options.role = gateway_role::head;
  options.tenants.push_back({"smith", sha256_hex("smith-key"), "workshop", true, 0, 0});
  const auto r =
      ask("POST", "/v1/completions", R"({"prompt":"a","site":"kitchen"})", bearer("smith-key"));
  EXPECT_EQ(r.status, 403u);
  EXPECT_THAT(error_of(r)["message"].get<std::string>(), HasSubstr("workshop"));
  EXPECT_EQ(runtime.submitted_count(), 0u);
}

TEST_F(http_access, an_admin_act_leaves_who_what_when_and_its_outcome) {
  auto client = peer();
  EXPECT_EQ(client
                .ask("POST", "/admin/v1/drain", R"({"node":"edge-a"})",
                     bearer("admin-key") + "X-Request-Id: act-1\r\n")
                .status,
            200u);
  EXPECT_EQ(
      client.ask("POST", "/admin/v1/drain", R"({"node":"nobody"})", bearer("admin-key")).status,
      404u);
  const auto done = act(0), refused = act(1);
  EXPECT_EQ(done["gateway"], "edge-a");
  EXPECT_EQ(done["who"], "admin key");
  EXPECT_EQ(done["from"], "127.0.0.1");
  EXPECT_EQ(done["what"], "POST /admin/v1/drain");
  EXPECT_EQ(done["asked"], R"({"node":"edge-a"})");
  EXPECT_EQ(done["request_id"], "act-1");
  EXPECT_EQ(done["status"], 200);
  EXPECT_EQ(done["outcome"], "done");
  EXPECT_THAT(done["time"].get<std::string>(),
              testing::MatchesRegex("20[0-9-]+T[0-9:]+\\.[0-9]+Z"));
  EXPECT_EQ(refused["outcome"], "refused");
  const auto shown =
      parsed(client.ask("GET", "/admin/v1/audit?limit=1", {}, bearer("admin-key")).body);
  ASSERT_EQ(shown["data"].size(), 1u);
  EXPECT_EQ(shown["data"][0]["asked"], R"({"node":"nobody"})");
}

TEST_F(http_access, whoever_takes_factors_out_leaves_who_what_when_for_each_part) {
  auto client = peer();
  for (const char* at : {"0", "1048576"}) {
    const auto path = std::string("/admin/v1/factors?adapter=assistant&version=3&at=") + at;
    EXPECT_EQ(client.ask("GET", path, {}, bearer("admin-key")).status, 200u);
  }
  EXPECT_EQ(client.ask("GET", "/admin/v1/factors", {}, bearer("cook-key")).status, 401u);
  ASSERT_EQ(trail->last(100).size(), 2u);
  EXPECT_EQ(act()["what"], "GET /admin/v1/factors");
  EXPECT_EQ(act()["who"], "admin key");
  EXPECT_EQ(act()["asked"], "adapter=assistant&version=3&at=0");
  EXPECT_EQ(act()["outcome"], "done");
  EXPECT_THAT(act()["time"].get<std::string>(), HasSubstr("T"));
  EXPECT_EQ(act(1)["asked"], "adapter=assistant&version=3&at=1048576");
}

// Of users' routes those that name a tenant's jobs and files; what a tenant writes is in no trail.
TEST_F(http_access, what_the_admins_key_changes_or_hands_out_is_in_the_trail_and_reading_is_not) {
  const std::set<std::string> of_users = {"DELETE /v1/files/*", "POST /v1/fine_tuning/jobs",
                                          "POST /v1/fine_tuning/jobs/*"};
  std::size_t acts = 0;
  for (const auto& [route, who] : route_rights) {
    const bool noted = who.user ? of_users.contains(route)
                                : !route.starts_with("GET") || route == "GET /admin/v1/factors";
    acts += noted ? 1 : 0;
    passes(route, "admin-key");
    passes(route, "cook-key");
    EXPECT_EQ(trail->last(1000).size(), acts) << route;
  }
}

TEST_F(http_access, a_damaged_line_of_the_trail_hides_no_other_and_is_shown_as_that) {
  for (const char* line :
       {R"({"what":"first"})", R"({"what":"sec)", "\xff\xfe", R"({"what":"last"})"})
    trail->add(line);
  auto client = peer();
  const auto data =
      parsed(client.ask("GET", "/admin/v1/audit", {}, bearer("admin-key")).body)["data"];
  ASSERT_EQ(data.size(), 4u);
  EXPECT_EQ(data[0]["what"], "first");
  EXPECT_EQ(data[1]["outcome"], "damaged line");
  EXPECT_EQ(data[1]["asked"], R"({"what":"sec)");
  EXPECT_EQ(data[2]["outcome"], "damaged line");
  EXPECT_EQ(data[3]["what"], "last");
}

TEST_F(http_access, an_act_whose_caller_left_is_in_the_trail_too) {
  runtime.hold_drain = true;
  {
    auto client = peer();
    client.send(client.request("POST", "/admin/v1/drain", "{}", bearer("admin-key")));
    ASSERT_TRUE(runtime.wait_held_drain());
  }
  server().stop();
  EXPECT_EQ(act()["outcome"], "the caller left");
  EXPECT_EQ(act()["status"], 0);
}

TEST_F(http_access, no_key_is_in_an_answer_or_in_the_trail) {
  auto client = peer();
  std::string told;
  for (const char* key : {"cook-key", "admin-key", "sesame-key"}) {
    for (const char* path : {"/v1/models", "/v1/completions", "/admin/v1/status", "/nowhere"}) {
      for (const char* method : {"GET", "POST"}) {
        const auto r = client.ask(method, path, {}, bearer(key));
        told += r.raw_head + r.body;
      }
    }
    client.ask("POST", "/admin/v1/drain", R"({"node":"x"})", bearer(key));
  }
  for (const auto& line : trail->last(1000)) told += line;
  EXPECT_EQ(trail->last(1000).size(), 1u);
  for (const std::string key : {"cook-key", "admin-key", "sesame-key"}) {
    EXPECT_THAT(told, testing::Not(HasSubstr(key)));
    EXPECT_THAT(told, testing::Not(HasSubstr(sha256_hex(key))));
  }
}

TEST_F(http_access, a_tenant_sees_and_cancels_its_own_jobs_alone) {
  options.tenants.push_back({"baker", sha256_hex("baker-key"), "kitchen", true, 0, 0});
  const std::string jobs = "/v1/fine_tuning/jobs", body = R"({"model":"assistant"})";
  const auto id = parsed(ask("POST", jobs, body, bearer("cook-key")).body)["id"].get<std::string>();
  const auto listed = [&](const char* key) {
    return parsed(ask("GET", jobs, "", bearer(key)).body)["data"].size();
  };
  EXPECT_EQ(listed("cook-key"), 1u);
  EXPECT_EQ(listed("baker-key"), 0u);
  EXPECT_EQ(listed("admin-key"), 1u);
  for (const std::string end : {"", "/events"})
    EXPECT_EQ(ask("GET", jobs + "/" + id + end, "", bearer("baker-key")).status, 404u) << end;
  const auto cancel = jobs + "/" + id + "/cancel";
  EXPECT_EQ(ask("POST", cancel, "", bearer("baker-key")).status, 404u);
  EXPECT_THAT(training.asked, ::testing::Not(::testing::Contains("cancel " + id)));
  EXPECT_EQ(parsed(ask("POST", cancel, "", bearer("cook-key")).body)["status"], "cancelled");
}

TEST_F(http_access, tokens_beyond_the_tenants_rate_are_paid_back_before_the_next_request) {
  options.tenants = {{"cook", sha256_hex("cook-key"), "kitchen", true, 0, 1}};
  runtime.answer_all();
  const std::string body = R"({"prompt":"abcd","max_tokens":6,"ignore_eos":true})";
  auto client = peer();
  const auto first = client.ask("POST", "/v1/completions", body, bearer("cook-key"));
  EXPECT_EQ(first.status, 200u) << first.body;
  EXPECT_EQ(first.headers.at("x-ratelimit-limit-tokens"), "1");
  const auto used = parsed(first.body)["usage"]["total_tokens"].get<double>();
  ASSERT_GT(used, 5);
  const auto second = client.ask("POST", "/v1/completions", body, bearer("cook-key"));
  EXPECT_EQ(second.status, 429u);
  const auto wait_ms = std::stod(second.headers.at("retry-after-ms"));
  EXPECT_LE(wait_ms, used * 1000) << "one token a second, of which one was there";
  EXPECT_GT(wait_ms, 1000);
}

}  // namespace
}  // namespace collm::gateway::fake
