// Plans: what fits a machine and what does not, and what a plan says.
#include "deploy/plan.hpp"
#include "deploy/plan_model.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace collm::deploy {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t Mi = 1u << 20, Gi = 1u << 30;

engine::model_shape smollm() {
  engine::model_shape s;
  s.architecture = "llama";
  s.layers = 30, s.hidden = 576, s.ffn = 1536, s.heads = 9, s.kv_heads = 3, s.head_dim = 64,
  s.vocab = 49152, s.context = 8192;
  return s;
}

model_plan smollm_file() {
  return {"smollm2-135m-instruct", "/models/smollm2-135m-instruct.gguf", 98362432,
          engine::precision::int8, smollm()};
}

machine two_cores() { return {2, 8 * Gi, "/nowhere"}; }

manifest parsed(const std::string& more) {
  const manifest_check check = parse_manifest(R"(apiVersion: collm.dev/v1alpha1
kind: Cluster
metadata: {name: small}
spec:
  model: {source: smollm2-135m-instruct}
  nodes:
    - {name: edge-a, gateway: {http: 127.0.0.1:8081}}
)" + more);
  EXPECT_TRUE(check.value) << (check.problems.empty() ? ""
                                                      : to_string(check.problems[0], "c.yaml"));
  return check.value.value_or(manifest{});
}

std::string problems_of(const plan_check& check) {
  std::string text;
  for (const problem& p : check.problems) text += to_string(p, "c.yaml") + "\n";
  return text;
}

std::string fit(const std::string& more, machine on = two_cores()) {
  return problems_of(fit_plan(parsed(more), smollm_file(), on));
}

TEST(plan, fits_the_built_in_cluster_on_two_cores) {
  const manifest_check check = parse_manifest(builtin_manifest());
  ASSERT_TRUE(check.value);
  const plan_check fitted = fit_plan(*check.value, smollm_file(), two_cores());
  ASSERT_TRUE(fitted.plan) << problems_of(fitted);
  const spawn_plan& p = *fitted.plan;
  EXPECT_EQ(p.cluster, "demo");
  EXPECT_EQ(p.model.name, "smollm2-135m-instruct");
  EXPECT_EQ(p.nodes.size(), 2u);
  EXPECT_EQ(p.node("edge-b")->site, "workshop");
  EXPECT_EQ(p.node("edge-c"), nullptr);
  EXPECT_EQ(p.slo.ttft_ms, 2000u);
  EXPECT_EQ(p.bounds.prompt_tokens_max, 4096u);
  EXPECT_LT(p.planned_bytes(), p.budget_bytes);
  EXPECT_TRUE(p.notes.empty());
  EXPECT_TRUE(p.learns());
  EXPECT_EQ(p.inactive,
            (std::vector<std::string>{
                "coordinator.slowPeriod: validated, not active: there is no slow planner yet"}));
  EXPECT_TRUE(p.federation[0].canary);
}

TEST(plan, says_what_inference_only_leaves_out) {
  std::string text(builtin_manifest());
  text.replace(text.find("coserve_fill"), std::string("coserve_fill").size(), "inference_only");
  const manifest_check check = parse_manifest(text);
  ASSERT_TRUE(check.value);
  const plan_check fitted = fit_plan(*check.value, smollm_file(), two_cores());
  ASSERT_TRUE(fitted.plan) << problems_of(fitted);
  EXPECT_FALSE(fitted.plan->learns());
  const std::string why = ": validated, not active: adapters do not learn (policy inference_only)";
  EXPECT_EQ(
      fitted.plan->inactive,
      (std::vector<std::string>{"training" + why, "federation of assistant" + why,
                                "data of edge-a, edge-b" + why, "coordinator.slowPeriod" + why}));
}

TEST(plan, sets_the_last_replicas_of_a_site_apart_and_says_so) {
  const manifest_check check = parse_manifest(
      "apiVersion: collm.dev/v1alpha1\nkind: Cluster\nmetadata: {name: a}\nspec:\n"
      "  model: {source: smollm2-135m-instruct}\n  adapters: [{name: a}]\n"
      "  federation: [{adapter: a}]\n"
      "  coordinator: {policy: static_split}\n  nodes:\n"
      "    - {name: n, site: s, data: 'builtin:kitchen', gateway: {http: '127.0.0.1:1'}}\n"
      "    - {name: o, site: s, data: 'builtin:kitchen', gateway: {http: '127.0.0.1:2'}}\n");
  ASSERT_TRUE(check.value) << to_string(check.problems[0], "c.yaml");
  EXPECT_EQ(check.value->federation[0].quorum, 1u) << "one replica trains";
  const plan_check fitted = fit_plan(*check.value, smollm_file(), two_cores());
  ASSERT_TRUE(fitted.plan) << problems_of(fitted);
  EXPECT_EQ(fitted.plan->trainers, std::set<std::string>{"o/0"});
  EXPECT_TRUE(fitted.plan->serves(*fitted.plan->node("n")));
  EXPECT_FALSE(fitted.plan->serves(*fitted.plan->node("o")));
  EXPECT_EQ(fitted.plan->notes, (std::vector<std::string>{
                                    "only train (static_split): o/0",
                                    "nobody trains on n's data: none of its replicas is set apart",
                                    "o answers no request: all its replicas are set apart"}));
}

TEST(plan, refuses_more_engine_threads_than_cores) {
  EXPECT_EQ(fit("    - {name: edge-b, threads: 2, gateway: {http: 127.0.0.1:8082}}\n"),
            "c.yaml:8:31: spec.nodes[1].threads: the engines up to this node ask for 3 threads, "
            "this process may use 2 cores; "
            "lower threads or replicas\n");
  EXPECT_EQ(fit("    - {name: edge-b, replicas: 2, gateway: {http: 127.0.0.1:8082}}\n"),
            "c.yaml:8:7: spec.nodes[1].threads: the engines up to this node ask for 3 threads, "
            "this process may use 2 cores; "
            "lower threads or replicas\n");
  EXPECT_EQ(fit("    - {name: edge-b, gateway: {http: 127.0.0.1:8082}}\n"), "");
}

TEST(plan, counts_on_each_machine_the_nodes_that_run_there) {
  const manifest m = parsed(
      "    - {name: edge-b, placement: remote, threads: 2, kvCache: 1Gi,\n"
      "        gateway: {http: 127.0.0.1:8081}}\n"
      "  head: {listen: 0.0.0.0:8099, enrol: 0.0.0.0:8098, host: head.example.org}\n");
  const plan_check at_head = fit_plan(m, smollm_file(), two_cores());
  ASSERT_TRUE(at_head.plan) << problems_of(at_head) << "three threads in all, one here";
  EXPECT_EQ(at_head.plan->nodes_here(), 1u);
  EXPECT_FALSE(at_head.plan->here(*at_head.plan->node("edge-b")));
  EXPECT_EQ(at_head.plan->head.host, "head.example.org");
  const plan_check there = fit_plan(m, smollm_file(), two_cores(), "edge-b");
  ASSERT_TRUE(there.plan) << problems_of(there);
  EXPECT_EQ(there.plan->nodes_here(), 1u);
  EXPECT_TRUE(there.plan->here(*there.plan->node("edge-b")));
  EXPECT_GT(there.plan->planned_bytes(), at_head.plan->planned_bytes()) << "its cache is larger";
  const plan_check small = fit_plan(m, smollm_file(), {1, 8 * Gi, "/nowhere"}, "edge-b");
  EXPECT_NE(problems_of(small).find("spec.nodes[1].threads: the engines up to this node ask for 2"),
            std::string::npos);
}

TEST(plan, blames_only_the_node_that_goes_over_the_cores) {
  const plan_check check =
      fit_plan(parsed("    - {name: edge-b, gateway: {http: 127.0.0.1:8082}}\n"
                      "    - {name: edge-c, gateway: {http: 127.0.0.1:8083}}\n"
                      "    - {name: edge-d, gateway: {http: 127.0.0.1:8084}}\n"),
               smollm_file(), two_cores());
  ASSERT_EQ(check.problems.size(), 1u) << problems_of(check);
  EXPECT_EQ(check.problems[0].field, "spec.nodes[2].threads");
}

TEST(plan, refuses_a_ledger_over_the_budget_and_names_its_rows) {
  const std::string report = fit("  memory: {budget: 512Mi}\n");
  EXPECT_TRUE(report.starts_with("c.yaml:8:20: spec.memory.budget: the cluster needs ")) << report;
  for (const char* row : {"base ", "kv 512Mi", "versions ", "activations ", "buffers "}) {
    EXPECT_NE(report.find(row), std::string::npos) << row << " in " << report;
  }
  EXPECT_NE(report.find("the budget is 512Mi; raise it, or lower kvCache or replicas"),
            std::string::npos)
      << report;
}

TEST(plan, refuses_a_budget_over_the_machines_memory) {
  EXPECT_EQ(fit("  memory: {budget: 16Gi}\n"),
            "c.yaml:8:20: spec.memory.budget: 16Gi is over what this process may have here, 8Gi\n");
}

TEST(plan, refuses_a_cache_that_holds_no_request) {
  EXPECT_EQ(fit("    - {name: edge-b, kvCache: 4Mi, gateway: {http: 127.0.0.1:8082}}\n"),
            "c.yaml:8:31: spec.nodes[1].kvCache: 4Mi holds 182 tokens of this model; at least "
            "5.6Mi (256 tokens)\n");
}

TEST(plan, refuses_an_adapter_by_the_name_of_the_bases_file) {
  auto model = smollm_file();
  model.name = "tiny";
  const auto problems =
      problems_of(fit_plan(parsed("  adapters: [{name: tiny, rank: 8}]\n"), model, two_cores()));
  EXPECT_NE(problems.find("spec.adapters[0].name: \"tiny\" is the base itself"), std::string::npos)
      << problems;
}

TEST(plan, refuses_a_rank_over_the_narrowest_matrix) {
  EXPECT_EQ(fit("  adapters: [{name: a, rank: 200}]\n"),
            "c.yaml:8:30: spec.adapters[0].rank: rank 200 is over the model's narrowest matrix; at "
            "most 192\n");
  EXPECT_EQ(fit("  adapters: [{name: a, rank: 192}]\n"), "");
}

TEST(plan, bounds_prompts_by_the_models_context) {
  EXPECT_EQ(
      fit("  limits: {promptTokens: 9000}\n"),
      "c.yaml:8:26: spec.limits.promptTokens: 9000 is over the model's context of 8192 tokens\n");
  model_plan small = smollm_file();
  small.shape.context = 1024;
  const plan_check unwritten = fit_plan(parsed(""), small, two_cores());
  ASSERT_TRUE(unwritten.plan);
  EXPECT_EQ(unwritten.plan->bounds.prompt_tokens_max, 1024u);
}

TEST(plan, tells_when_residency_does_not_hold) {
  const plan_check check = fit_plan(
      parsed(
          "    - {name: edge-b, site: shop, placement: thread, gateway: {http: 127.0.0.1:8082}}\n"
          "  adapters: [{name: a, spill: true}]\n"),
      smollm_file(), two_cores());
  ASSERT_TRUE(check.plan) << problems_of(check);
  EXPECT_EQ(check.plan->notes,
            (std::vector<std::string>{
                "edge-b runs in the head's process: residency of site shop does not hold",
                "requests for a may leave their site (spill)"}));
}

TEST(plan, says_which_requests_a_small_cache_cannot_take) {
  const plan_check check =
      fit_plan(parsed("    - {name: edge-b, kvCache: 64Mi, gateway: {http: 127.0.0.1:8082}}\n"),
               smollm_file(), two_cores());
  ASSERT_TRUE(check.plan) << problems_of(check);
  EXPECT_EQ(
      check.plan->notes,
      std::vector<std::string>{"edge-b's KV cache holds 2912 tokens: longer requests are refused"});
}

/// A folder of its own that is gone afterwards.
class plan_files : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("collm-plan-" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string yaml(const std::string& source, const std::string& more = "") {
    return "apiVersion: collm.dev/v1alpha1\nkind: Cluster\nmetadata: {name: small}\nspec:\n  "
           "model: {source: " +
           source + "}\n  nodes:\n    - {name: edge-a, gateway: {http: 127.0.0.1:8081}}\n" + more;
  }
  plan_check make(const std::string& text) {
    machine on = two_cores();
    on.cache_dir = folder_ / "cache";
    return make_plan(text, folder_, on);
  }
  fs::path folder_;
};

TEST_F(plan_files, says_where_a_catalogue_model_is_missing) {
  EXPECT_EQ(problems_of(make(yaml("smollm2-135m-instruct"))),
            "c.yaml:5:19: spec.model.source: smollm2-135m-instruct is not in the cache (" +
                (folder_ / "cache/models/smollm2-135m-instruct.gguf").string() +
                "); ./dev build fetches it, COLLM_CACHE names another cache\n");
}

TEST_F(plan_files, helps_with_a_model_that_is_none) {
  EXPECT_EQ(problems_of(make(yaml("smollm2-135m-instuct"))),
            "c.yaml:5:19: spec.model.source: \"smollm2-135m-instuct\" is neither a .gguf file, "
            "nor a folder, nor in the catalogue; did you "
            "mean \"smollm2-135m-instruct\"?\n");
  EXPECT_EQ(problems_of(make(yaml("gone.gguf"))),
            "c.yaml:5:19: spec.model.source: no file " + (folder_ / "gone.gguf").string() + "\n");
  fs::create_directories(folder_ / "hf");
  EXPECT_EQ(problems_of(make(yaml("hf"))),
            "c.yaml:5:19: spec.model.source: " + (folder_ / "hf/config.json").string() +
                ": No such file or directory\n");
}

TEST_F(plan_files, takes_a_hugging_face_folder) {
  const auto model = fs::path(COLLM_SOURCE_DIR) / "tests/golden/data/qwen2_folder/model";
  const auto plan = find_model({model.string(), engine::precision::int8}, folder_, folder_);
  ASSERT_TRUE(plan) << plan.failure().message;
  EXPECT_EQ(plan->shape.architecture, "qwen2");
  EXPECT_EQ(plan->name, "model");
  EXPECT_GT(plan->file_bytes, 50000u);
}

TEST_F(plan_files, refuses_a_file_that_is_no_model) {
  std::ofstream(folder_ / "bad.gguf") << "not a model";
  const std::string report = problems_of(make(yaml("bad.gguf")));
  EXPECT_TRUE(report.starts_with("c.yaml:5:19: spec.model.source: ")) << report;
  EXPECT_NE(report.find("bad.gguf"), std::string::npos) << report;
}

TEST_F(plan_files, looks_for_adapters_data_and_state) {
  std::ofstream(folder_ / "file") << "x";
  const std::string report = problems_of(
      make(yaml("gone.gguf",
                "    - {name: edge-b, data: day.jsonl, gateway: {http: 127.0.0.1:8082}}\n"
                "  adapters: [{name: a, path: lora}]\n  head: {stateDir: file}\n")));
  EXPECT_NE(report.find("c.yaml:8:28: spec.nodes[1].data: no file or folder " +
                        (folder_ / "day.jsonl").string()),
            std::string::npos)
      << report;
  EXPECT_NE(report.find("c.yaml:9:30: spec.adapters[0].path: no PEFT adapter in " +
                        (folder_ / "lora").string()),
            std::string::npos)
      << report;
  EXPECT_NE(report.find("c.yaml:10:20: spec.head.stateDir: " + (folder_ / "file").string() +
                        " is not a folder"),
            std::string::npos)
      << report;
}

TEST_F(plan_files, keeps_the_manifest_for_its_nodes) {
  spawn_plan p = *fit_plan(parsed(""), smollm_file(), two_cores()).plan;
  p.manifest_text = yaml("smollm2-135m-instruct");
  p.base_dir = folder_;
  p.head.state_dir = folder_ / "deep" / "state";
  const auto kept = keep_manifest(p);
  ASSERT_TRUE(kept) << kept.failure().message;
  std::ifstream in(*kept);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), p.manifest_text);
  const auto arguments = node_arguments(p, "edge-a", 3);
  EXPECT_EQ(arguments,
            (std::vector<std::string>{"node", "edge-a", "--file", kept->string(), "--base-dir",
                                      folder_.string(), "--incarnation", "3"}));
  std::ofstream(folder_ / "blocked") << "x";
  p.head.state_dir = folder_ / "blocked" / "state";
  EXPECT_EQ(keep_manifest(p).failure().code, errc::io);
}

TEST(machine, knows_where_it_runs) {
  const machine here = machine::here();
  EXPECT_GE(here.cores, 1u);
  EXPECT_GT(here.memory_bytes, 64 * Mi);
  EXPECT_TRUE(here.cache_dir.is_absolute());
}

TEST(machine, takes_the_cache_from_the_environment) {
  const char* before = std::getenv("COLLM_CACHE");
  const std::string kept = before ? before : "";
  ::setenv("COLLM_CACHE", "/somewhere/else", 1);
  EXPECT_EQ(machine::here().cache_dir, "/somewhere/else");
  if (before)
    ::setenv("COLLM_CACHE", kept.c_str(), 1);
  else
    ::unsetenv("COLLM_CACHE");
}

}  // namespace
}  // namespace collm::deploy
