// Feedback, files and jobs on nodes; rounds and versions under /admin/v1.
#include "tests/support/http_fixture.hpp"

namespace collm::gateway::fake {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* form_type = "Content-Type: multipart/form-data; boundary=\"b-1\"\r\n";

std::string form(const std::string& purpose, const std::string& text,
                 const std::string& name = "my.jsonl") {
  return "--b-1\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\n" + purpose +
         "\r\n--b-1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name +
         "\"\r\nContent-Type: application/jsonl\r\n\r\n" + text + "\r\n--b-1--\r\n";
}

class http_training : public http_test {
 protected:
  http_training() {
    runtime.store = &store;
    runtime.training = &training;
  }
  std::string message(const reply& r) { return error_of(r)["message"].get<std::string>(); }
  reply upload(const std::string& text) {
    return ask("POST", "/v1/files", form("fine-tune", text), form_type);
  }

  site_double store;
  federation_double training;
};

class http_feedback : public http_training {};

TEST_F(http_feedback, names_an_answer_by_its_id) {
  runtime.answer_all();
  const auto answered = parsed(
      ask("POST", "/v1/chat/completions",
          R"({"model":"assistant","max_tokens":4,"messages":[{"role":"user","content":"menu?"}]})")
          .body);
  const auto id = answered["id"].get<std::string>();
  ASSERT_TRUE(store.remembered.contains(id));
  EXPECT_EQ(store.remembered[id], R"([{"role":"user","content":"menu?"}])");
  const auto r = ask("POST", "/v1/feedback",
                     nlohmann::json{{"request_id", id}, {"answer", "soup\nand bread"}}.dump());
  EXPECT_EQ(r.status, 200u) << r.body;
  EXPECT_EQ(parsed(r.body)["set"], "train");
  EXPECT_EQ(store.answers[id], "soup\nand bread");
  EXPECT_EQ(ask("POST", "/v1/feedback", nlohmann::json{{"id", id}, {"answer", "x"}}.dump()).status,
            200u);
}

TEST_F(http_feedback, remembers_streams_and_plain_prompts_too) {
  runtime.answer_all();
  const auto r = ask("POST", "/v1/completions",
                     R"({"model":"tiny","max_tokens":3,"prompt":"Once","stream":true})");
  const auto id = parsed(frames_of(r.body).front())["id"].get<std::string>();
  EXPECT_EQ(store.remembered[id], "Once");
}

TEST_F(http_feedback, remembers_nothing_that_was_not_answered) {
  runtime.answer_all();
  ask("POST", "/v1/completions", R"({"model":"missing","prompt":"Once"})");
  EXPECT_TRUE(store.remembered.empty());
}

TEST_F(http_feedback, of_an_unknown_answer_is_404) {
  const auto r = ask("POST", "/v1/feedback", R"({"request_id":"chatcmpl-1","answer":"x"})");
  EXPECT_EQ(r.status, 404u);
  EXPECT_EQ(error_of(r)["code"], "request_not_found");
  EXPECT_EQ(error_of(r)["param"], "request_id");
}

TEST_F(http_feedback, to_another_tenants_answer_is_404_as_to_none) {
  runtime.answer_all();
  options.tenants = {{"cook", sha256_hex("cook-key"), "kitchen", true, 0, 0},
                     {"baker", sha256_hex("baker-key"), "kitchen", true, 0, 0}};
  options.admin_key_sha256 = sha256_hex("admin-key");
  const auto told = [&](const std::string& key, const std::string& id) {
    return ask("POST", "/v1/feedback", nlohmann::json{{"id", id}, {"answer", "soup"}}.dump(),
               "Authorization: Bearer " + key + "\r\n");
  };
  const auto answered = ask("POST", "/v1/completions", R"({"model":"tiny","prompt":"Once"})",
                            "Authorization: Bearer cook-key\r\n");
  const auto id = parsed(answered.body)["id"].get<std::string>();
  const auto others = told("baker-key", id), nobodys = told("baker-key", "cmpl-none");
  EXPECT_EQ(others.status, 404u);
  auto as_if_none = others.body;
  as_if_none.replace(as_if_none.find(id), id.size(), "cmpl-none");
  EXPECT_EQ(as_if_none, nobodys.body);
  EXPECT_TRUE(store.answers.empty());
  EXPECT_EQ(told("cook-key", id).status, 200u);
  EXPECT_EQ(told("admin-key", id).status, 200u);
}

TEST_F(http_feedback, says_which_field_is_wrong) {
  for (const auto& [body, param] : std::vector<std::pair<const char*, const char*>>{
           {R"({"answer":"x"})", "request_id"},
           {R"({"request_id":"a","id":"b","answer":"x"})", "request_id"},
           {R"({"request_id":"a"})", "answer"},
           {R"({"request_id":"a","answer":""})", "answer"},
           {R"({"request_id":"a","answer":7})", "answer"},
           {R"({"request_id":"a","answer":"b\u0000c"})", "answer"}}) {
    const auto r = ask("POST", "/v1/feedback", body);
    EXPECT_EQ(r.status, 400u) << body;
    EXPECT_EQ(error_of(r)["param"], param) << body;
  }
}

TEST_F(http_training, a_file_is_taken_and_its_bad_lines_are_named) {
  const auto r = upload("{\"prompt\":\"a\"}\nnonsense\n{\"prompt\":\"b\"}\n");
  EXPECT_EQ(r.status, 200u) << r.body;
  const auto file = parsed(r.body);
  EXPECT_EQ(file["object"], "file");
  EXPECT_EQ(file["purpose"], "fine-tune");
  EXPECT_EQ(file["filename"], "my.jsonl");
  EXPECT_EQ(file["status"], "processed");
  EXPECT_EQ(file["bytes"], 39);
  EXPECT_EQ(file["lines"]["added"], 2);
  EXPECT_EQ(file["lines"]["bad"], 1);
  EXPECT_EQ(file["lines"]["first_bad"][0]["line"], 2);
  EXPECT_EQ(store.texts["my.jsonl"], "{\"prompt\":\"a\"}\nnonsense\n{\"prompt\":\"b\"}\n");
}

TEST_F(http_training, files_are_listed_found_and_deleted) {
  upload("{}");
  upload("{}\n{}");
  const auto list = parsed(ask("GET", "/v1/files").body);
  ASSERT_EQ(list["data"].size(), 2u);
  EXPECT_EQ(list["data"][0]["id"], "file-1");
  EXPECT_EQ(list["has_more"], false);
  EXPECT_EQ(parsed(ask("GET", "/v1/files/file-0").body)["lines"]["added"], 1);
  const auto gone = parsed(ask("DELETE", "/v1/files/file-0").body);
  EXPECT_EQ(gone["deleted"], true);
  EXPECT_EQ(gone["rows_kept"], true);
  for (const char* method : {"GET", "DELETE"}) {
    const auto missing = ask(method, "/v1/files/file-0");
    EXPECT_EQ(missing.status, 404u) << method;
    EXPECT_EQ(error_of(missing)["code"], "file_not_found");
  }
  EXPECT_THAT(message(ask("GET", "/v1/files/file-1/content")), HasSubstr("is not kept"));
  EXPECT_EQ(ask("POST", "/v1/files/file-1").status, 405u);
}

TEST_F(http_training, a_bad_upload_names_what_is_wrong) {
  const auto wrong = [&](const std::string& body, const char* type, const char* part) {
    const auto r = ask("POST", "/v1/files", body, type);
    EXPECT_EQ(r.status, 400u) << r.body;
    EXPECT_THAT(message(r), HasSubstr(part));
  };
  wrong("{}", "Content-Type: application/json\r\n", "multipart/form-data");
  wrong("{}", "Content-Type: multipart/form-data\r\n", "boundary");
  wrong("{}", form_type, "does not start with the boundary");
  wrong("--b-1\r\nno end", form_type, "have no end");
  wrong("--b-1\r\nX: y\r\n\r\ntext\r\n--b-1--", form_type, "no Content-Disposition");
  wrong(form("assistants", "{}"), form_type, "must be fine-tune");
  wrong(form("fine-tune", ""), form_type, "JSONL file that is not empty");
  wrong(form("fine-tune", "nonsense"), form_type, "no line of it");
  EXPECT_TRUE(store.listed.empty());
}

TEST_F(http_training, a_file_beyond_the_bodys_limit_is_413) {
  options.bounds.request_bytes_max = 4096;
  EXPECT_EQ(upload(std::string(5000, '{')).status, 413u);
}

TEST_F(http_training, the_head_refuses_data_and_names_the_sites) {
  options.role = gateway_role::head;
  runtime.store = nullptr;
  for (const char* path : {"/v1/files", "/v1/feedback"}) {
    const auto r = ask("POST", path, "{}");
    EXPECT_EQ(r.status, 403u) << path;
    EXPECT_THAT(message(r), HasSubstr("kitchen http://127.0.0.1:8081"));
  }
  EXPECT_EQ(ask("GET", "/v1/files").status, 403u);
}

TEST_F(http_training, a_node_without_a_store_says_so) {
  runtime.store = nullptr;
  EXPECT_EQ(upload("{}").status, 400u);
  EXPECT_THAT(message(ask("GET", "/v1/files")), HasSubstr("no store for examples"));
  runtime.answer_all();  // and serves as ever
  EXPECT_EQ(
      ask("POST", "/v1/completions", R"({"model":"tiny","max_tokens":2,"prompt":"a"})").status,
      200u);
}

TEST_F(http_training, a_key_of_another_site_leaves_no_data_here) {
  options.tenants = {{"shop", sha256_hex("k1"), "workshop"}, {"cook", sha256_hex("k2"), "kitchen"}};
  EXPECT_EQ(upload("{}").status, 401u);
  const std::string more = form_type;
  EXPECT_EQ(ask("POST", "/v1/files", form("fine-tune", "{}"), more + "Authorization: Bearer k1\r\n")
                .status,
            403u);
  EXPECT_EQ(ask("POST", "/v1/files", form("fine-tune", "{}"), more + "Authorization: Bearer k2\r\n")
                .status,
            200u);
}

// -- jobs

class http_jobs : public http_training {
 protected:
  reply create(const std::string& body) { return ask("POST", "/v1/fine_tuning/jobs", body); }
};

TEST_F(http_jobs, are_made_of_a_file_of_the_site) {
  upload("{}");
  const auto r = create(
      R"({"model":"assistant","training_file":"file-0","federation":{"rounds":5},"suffix":"s"})");
  EXPECT_EQ(r.status, 200u) << r.body;
  const auto job = parsed(r.body);
  EXPECT_EQ(job["id"], "ftjob-0");
  EXPECT_EQ(job["object"], "fine_tuning.job");
  EXPECT_EQ(job["status"], "queued");
  EXPECT_TRUE(job["finished_at"].is_null());
  EXPECT_TRUE(job["error"].is_null());
  EXPECT_THAT(training.asked, ElementsAre("create assistant 5 file-0 s"));
}

TEST_F(http_jobs, of_a_file_that_is_not_here_are_refused) {
  const auto r = create(R"({"model":"assistant","training_file":"file-9"})");
  EXPECT_EQ(r.status, 400u);
  EXPECT_EQ(error_of(r)["param"], "training_file");
  EXPECT_TRUE(training.asked.empty());
}

TEST_F(http_jobs, refuse_by_name_what_a_federation_has_no_place_for) {
  for (const auto& [more, param] : std::vector<std::pair<std::string, std::string>>{
           {R"("hyperparameters":{"n_epochs":3})", "hyperparameters.n_epochs"},
           {R"("method":{"type":"dpo"})", "method"},
           {R"("method":{"type":"supervised","supervised":{"hyperparameters":{"batch_size":2}}})",
            "hyperparameters.batch_size"},
           {R"("validation_file":"file-1")", "validation_file"},
           {R"("seed":3)", "seed"},
           {R"("integrations":[{"type":"wandb"}])", "integrations"},
           {R"("federation":{"rounds":-1})", "federation.rounds"}}) {
    const auto r = create("{\"model\":\"assistant\"," + more + "}");
    EXPECT_EQ(r.status, 400u) << more;
    EXPECT_EQ(error_of(r)["param"], param) << r.body;
  }
  EXPECT_EQ(create("{}").status, 400u);
  EXPECT_EQ(create(R"({"model":"assistant@3"})").status, 400u);
  EXPECT_EQ(create(R"({"model":"nobody"})").status, 404u);
  EXPECT_EQ(create(R"({"model":"assistant","hyperparameters":{"n_epochs":"auto"}})").status, 200u);
}

TEST_F(http_jobs, are_paged_found_and_cancelled) {
  for (int i = 0; i < 3; ++i) create(R"({"model":"assistant"})");
  const auto page = parsed(ask("GET", "/v1/fine_tuning/jobs?limit=2").body);
  ASSERT_EQ(page["data"].size(), 2u);
  EXPECT_EQ(page["data"][0]["id"], "ftjob-2");
  EXPECT_EQ(page["has_more"], true);
  const auto rest = parsed(ask("GET", "/v1/fine_tuning/jobs?after=ftjob-1").body);
  ASSERT_EQ(rest["data"].size(), 1u);
  EXPECT_EQ(rest["has_more"], false);
  EXPECT_EQ(ask("GET", "/v1/fine_tuning/jobs?limit=x").status, 400u);
  EXPECT_EQ(parsed(ask("GET", "/v1/fine_tuning/jobs/ftjob-1").body)["id"], "ftjob-1");
  EXPECT_EQ(ask("GET", "/v1/fine_tuning/jobs/ftjob-7").status, 404u);
  const auto ended = ask("POST", "/v1/fine_tuning/jobs/ftjob-1/cancel");
  EXPECT_EQ(parsed(ended.body)["status"], "cancelled") << ended.body;
  EXPECT_EQ(ask("POST", "/v1/fine_tuning/jobs/ftjob-1/pause").status, 404u);
  EXPECT_EQ(ask("POST", "/v1/fine_tuning/jobs/ftjob-9/cancel").status, 404u);
}

TEST_F(http_jobs, tell_what_became_of_them) {
  training.list.push_back(msg<schema::Job>::build([](schema::Job::Builder b) {
    b.setId("ftjob-x");
    b.setAdapter("assistant");
    b.setState(schema::JobState::FAILED);
    b.setCreatedUnix(100);
    b.setFinishedUnix(200);
    b.setDone(4);
    b.setPromoted(2);
    b.setVersion(6);
    b.setTokens(1e6);
    b.setMessage("no site answers");
  }));
  const auto job = parsed(ask("GET", "/v1/fine_tuning/jobs/ftjob-x").body);
  EXPECT_EQ(job["fine_tuned_model"], "assistant@6");
  EXPECT_EQ(job["trained_tokens"], 1000000);
  EXPECT_EQ(job["error"]["message"], "no site answers");
  EXPECT_EQ(job["federation"]["promoted"], 2);
  const auto events = parsed(ask("GET", "/v1/fine_tuning/jobs/ftjob-x/events").body);
  ASSERT_EQ(events["data"].size(), 3u);
  EXPECT_EQ(events["data"][0]["level"], "error");
  EXPECT_EQ(events["data"][0]["object"], "fine_tuning.job.event");
}

TEST_F(http_jobs, where_nothing_trains_are_refused_in_words) {
  runtime.training = nullptr;
  for (const char* path : {"/v1/fine_tuning/jobs", "/admin/v1/rounds", "/admin/v1/explain"}) {
    const auto r = ask("GET", path);
    EXPECT_EQ(r.status, 400u);
    EXPECT_THAT(message(r), HasSubstr("trains nothing"));
  }
}

// -- rounds and versions

class http_rounds : public http_training {};

TEST_F(http_rounds, reach_the_head_as_they_were_asked) {
  EXPECT_EQ(parsed(ask("GET", "/admin/v1/rounds?adapter=assistant").body)["rounds"][0]["state"],
            "gate");
  EXPECT_THAT(ask("GET", "/admin/v1/explain?adapter=assistant&version=4").body,
              HasSubstr("better at both sites"));
  EXPECT_EQ(ask("GET", "/admin/v1/explain").status, 200u);
  EXPECT_EQ(ask("POST", "/admin/v1/rounds/replay",
                R"({"adapter":"assistant","round":3,"without":"edge-b/0"})")
                .status,
            200u);
  EXPECT_EQ(ask("POST", "/admin/v1/rounds/close", R"({"adapter":"assistant"})").status, 200u);
  EXPECT_EQ(parsed(ask("POST", "/admin/v1/rollback", R"({"adapter":"assistant"})").body)["number"],
            2);
  EXPECT_EQ(parsed(ask("POST", "/admin/v1/jobs", R"({"model":"assistant"})").body)["id"],
            "ftjob-0");
  EXPECT_EQ(parsed(ask("GET", "/admin/v1/jobs").body)["jobs"][0]["state"], "queued");
  EXPECT_EQ(parsed(ask("POST", "/admin/v1/jobs/ftjob-0/cancel").body)["state"], "cancelled");
  EXPECT_THAT(training.asked,
              ElementsAre("rounds assistant", "explain assistant@4", "explain base",
                          "replay assistant 3 edge-b/0", "close assistant operator",
                          "rollback assistant", "create assistant 0  ", "cancel ftjob-0"));
}

TEST_F(http_rounds, say_which_part_of_a_question_is_wrong) {
  EXPECT_EQ(error_of(ask("GET", "/admin/v1/explain?version=-1"))["param"], "version");
  EXPECT_EQ(ask("GET", "/admin/v1/explain?adapter=assistant&version=99").status, 404u);
  EXPECT_EQ(error_of(ask("POST", "/admin/v1/rounds/replay", R"({"round":3})"))["param"], "without");
  EXPECT_EQ(error_of(ask("POST", "/admin/v1/rounds/replay", R"({"without":"a"})"))["param"],
            "round");
  EXPECT_EQ(error_of(ask("POST", "/admin/v1/rollback", "{}"))["param"], "adapter");
}

TEST_F(http_rounds, factors_travel_as_bytes) {
  const auto r = ask("GET", "/admin/v1/factors?adapter=assistant&version=2&at=8&count=5");
  EXPECT_EQ(r.headers.at("content-type"), "application/octet-stream");
  EXPECT_EQ(r.headers.at("x-collm-digest"), "d1");
  EXPECT_EQ(r.headers.at("x-collm-total"), "5");
  EXPECT_EQ(r.body, std::string("\x01\x00\r\n\xff", 5));
  EXPECT_THAT(training.asked, ElementsAre("factors assistant@2 8 5"));
  EXPECT_EQ(ask("GET", "/admin/v1/factors?adapter=a&count=9999999").status, 400u);
}

TEST_F(http_rounds, need_the_admin_key_where_one_is_set) {
  options.admin_key_sha256 = sha256_hex("root");
  for (const auto& [method, path] :
       std::vector<std::pair<const char*, const char*>>{{"GET", "/admin/v1/rounds"},
                                                        {"GET", "/admin/v1/explain"},
                                                        {"GET", "/admin/v1/factors"},
                                                        {"GET", "/admin/v1/jobs"},
                                                        {"POST", "/admin/v1/jobs"},
                                                        {"POST", "/admin/v1/jobs/a/cancel"},
                                                        {"POST", "/admin/v1/rounds/replay"},
                                                        {"POST", "/admin/v1/rounds/close"},
                                                        {"POST", "/admin/v1/rollback"}}) {
    EXPECT_EQ(ask(method, path).status, 401u) << path;
  }
  EXPECT_TRUE(training.asked.empty());
}

}  // namespace
}  // namespace collm::gateway::fake
