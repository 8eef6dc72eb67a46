// The program as a whole, in process: what is printed, and the exit code. Nothing here needs a
// running cluster.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/flags.hpp"
#include "cli/verbs.hpp"

namespace collm::cli {
namespace {

struct outcome {
  int exit = -1;
  std::string out, err;
};

outcome collm_with(std::vector<std::string> words) {
  std::ostringstream out, err;
  console io(out, err, false);
  std::vector<const char*> argv = {"collm"};
  for (const std::string& word : words) argv.push_back(word.c_str());
  const int exit = run(static_cast<int>(argv.size()), argv.data(), io, "/nowhere/collm");
  return {exit, out.str(), err.str()};
}

/// Sets an environment variable for one test.
class variable {
 public:
  variable(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  ~variable() { ::unsetenv(name_); }

 private:
  const char* name_;
};

class manifest_file {
 public:
  explicit manifest_file(const std::string& text)
      : path_(std::filesystem::temp_directory_path() /
              ("collm-cli-" + std::to_string(::getpid()) + ".yaml")) {
    std::ofstream(path_) << text;
  }
  ~manifest_file() { std::filesystem::remove(path_); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

const std::string wrong_manifest =
    "apiVersion: collm.dev/v1alpha1\nkind: Cluster\nmetadata: {name: small}\nspec:\n"
    "  model: {source: gone.gguf}\n  nodes:\n    - {name: a, gateway: {http: 127.0.0.1:8081}}\n"
    "  slo: {ttft: 2}\n";

TEST(program, without_a_verb_says_that_help_exists) {
  const outcome o = collm_with({});
  EXPECT_EQ(o.exit, wrong_usage);
  EXPECT_NE(o.err.find("collm --help lists what there is"), std::string::npos) << o.err;
  EXPECT_EQ(o.out, "");
}

TEST(program, refuses_what_is_no_verb_or_flag) {
  EXPECT_EQ(collm_with({"fly"}).exit, wrong_usage);
  const outcome o = collm_with({"validate", "--fast"});
  EXPECT_EQ(o.exit, wrong_usage);
  EXPECT_NE(o.err.find("collm validate --help"), std::string::npos) << o.err;
  EXPECT_EQ(collm_with({"status", "--output", "xml"}).exit, wrong_usage);
}

TEST(program, helps_with_every_verb) {
  const outcome all = collm_with({"--help"});
  EXPECT_EQ(all.exit, success);
  for (const char* verb : {"doctor", "validate", "plan", "up", "status", "drain", "down", "chat",
                           "infer", "inject", "workload", "adapter", "node", "join-token"}) {
    EXPECT_NE(all.out.find(std::string("  ") + verb), std::string::npos) << verb;
    const outcome one = collm_with({verb, "--help"});
    EXPECT_EQ(one.exit, success) << verb;
    EXPECT_FALSE(one.out.empty()) << verb;
  }
}

TEST(program, tells_its_version) {
  const outcome o = collm_with({"--version"});
  EXPECT_EQ(o.exit, success);
  EXPECT_EQ(o.out, "collm " COLLM_VERSION "\n");
}

TEST(program, offers_json_and_environment_twins_on_every_flag) {
  for (const std::vector<std::string>& verb :
       std::vector<std::vector<std::string>>{{"doctor"},
                                             {"validate"},
                                             {"plan"},
                                             {"up"},
                                             {"status"},
                                             {"drain"},
                                             {"down"},
                                             {"chat"},
                                             {"infer"},
                                             {"inject"},
                                             {"adapter", "load"},
                                             {"adapter", "unload"},
                                             {"adapter", "list"},
                                             {"workload", "make"}}) {
    std::vector<std::string> words = verb;
    words.push_back("--help");
    const outcome o = collm_with(words);
    EXPECT_NE(o.out.find("--output"), std::string::npos) << verb[0];
    std::istringstream lines(o.out);
    for (std::string line; std::getline(lines, line);) {
      const auto flag = line.find("--");
      if (flag == std::string::npos || flag > 8 || line.find("--help") != std::string::npos)
        continue;
      EXPECT_NE(line.find("(Env:COLLM_"), std::string::npos) << verb[0] << ": " << line;
    }
  }
}

TEST(environment_twin, is_the_long_name_in_capitals) {
  EXPECT_EQ(environment_twin("--max-tokens"), "COLLM_MAX_TOKENS");
  EXPECT_EQ(environment_twin("-f,--file"), "COLLM_FILE");
}

TEST(environment_twin, is_weaker_than_the_flag) {
  const variable output("COLLM_OUTPUT", "json");
  const manifest_file file(wrong_manifest);
  EXPECT_EQ(collm_with({"validate", "-f", file.path()}).out.substr(0, 1), "{");
  EXPECT_EQ(collm_with({"validate", "-f", file.path(), "--output", "text"}).out, "");
}

TEST(validate, names_place_and_mend_and_exits_with_two) {
  const manifest_file file(wrong_manifest);
  const outcome o = collm_with({"validate", "-f", file.path()});
  EXPECT_EQ(o.exit, wrong_usage);
  EXPECT_EQ(
      o.err,
      file.path() +
          ":8:15: spec.slo.ttft: 2 has no unit; write 2ms or 2s\n1 problem; nothing was started\n");
}

TEST(validate, gives_problems_as_json) {
  const manifest_file file(wrong_manifest);
  const outcome o = collm_with({"validate", "-f", file.path(), "--output", "json"});
  const json document = json::parse(o.out);
  EXPECT_EQ(document["valid"], false);
  EXPECT_EQ(document["problems"][0]["line"], 8);
  EXPECT_EQ(document["problems"][0]["column"], 15);
  EXPECT_EQ(document["problems"][0]["field"], "spec.slo.ttft");
}

TEST(validate, says_which_file_cannot_be_read) {
  const outcome o = collm_with({"validate", "-f", "/no/such.yaml"});
  EXPECT_EQ(o.exit, wrong_usage);
  EXPECT_EQ(o.err, "collm: cannot read the manifest /no/such.yaml\n");
}

TEST(up, starts_nothing_from_a_wrong_manifest) {
  const manifest_file file(wrong_manifest);
  const outcome o = collm_with({"up", "-f", file.path()});
  EXPECT_EQ(o.exit, wrong_usage);
  EXPECT_NE(o.err.find("nothing was started"), std::string::npos) << o.err;
}

TEST(node, refuses_a_wrong_manifest) {
  const manifest_file file(wrong_manifest);
  EXPECT_EQ(collm_with({"node", "a", "-f", file.path()}).exit, wrong_usage);
}

TEST(node, says_what_it_wants_of_a_name_and_a_token) {
  const outcome cut = collm_with({"node", "--join", "collm1/edge-c/10.0.0.5:8098"});
  EXPECT_EQ(cut.exit, wrong_usage);
  EXPECT_NE(cut.err.find("this is not a whole join token"), std::string::npos) << cut.err;
  const outcome both = collm_with({"node", "edge-c", "--join", "collm1/edge-c"});
  EXPECT_EQ(both.exit, wrong_usage);
  EXPECT_NE(both.err.find("a token names its node"), std::string::npos) << both.err;
  const outcome none = collm_with({"node"});
  EXPECT_EQ(none.exit, wrong_usage);
  EXPECT_NE(none.err.find("which node?"), std::string::npos) << none.err;
}

TEST(join_token, wants_a_unit_in_its_time) {
  const outcome o = collm_with({"join-token", "--node", "edge-c", "--ttl", "10"});
  EXPECT_EQ(o.exit, wrong_usage);
  EXPECT_NE(o.err.find("--ttl: 10 has no unit"), std::string::npos) << o.err;
}

// Port 1 of loopback: nobody listens there.
TEST(status, says_what_to_do_when_no_cluster_answers) {
  const outcome o = collm_with({"status", "--url", "http://127.0.0.1:1"});
  EXPECT_EQ(o.exit, failed);
  EXPECT_NE(o.err.find("nothing answers at http://127.0.0.1:1; start a cluster with collm up, or "
                       "name another with --url"),
            std::string::npos)
      << o.err;
}

TEST(status, reports_failures_as_json_too) {
  const outcome o = collm_with({"status", "--url", "http://127.0.0.1:1", "--output", "json"});
  EXPECT_EQ(o.exit, failed);
  EXPECT_EQ(json::parse(o.out)["error"]["code"], "unavailable");
}

TEST(status, refuses_an_address_that_is_none) {
  EXPECT_EQ(collm_with({"status", "--url", "ftp://127.0.0.1:1"}).exit, wrong_usage);
  EXPECT_EQ(collm_with({"status", "--url", "127.0.0.1:1"}).exit, wrong_usage);
  const variable url("COLLM_URL", "nonsense");
  EXPECT_EQ(collm_with({"status"}).exit, wrong_usage);
}

TEST(every_cluster_verb, fails_with_one_where_no_cluster_answers) {
  const variable url("COLLM_URL", "http://127.0.0.1:1");
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"status"},
                                             {"down"},
                                             {"drain", "edge-a"},
                                             {"chat", "--site", "kitchen"},
                                             {"infer", "hello"},
                                             {"adapter", "list"},
                                             {"adapter", "load", "a", "/tmp"},
                                             {"adapter", "unload", "a"}}) {
    const outcome o = collm_with(words);
    EXPECT_EQ(o.exit, failed) << words[0];
    EXPECT_NE(o.err.find("start a cluster with collm up"), std::string::npos)
        << words[0] << ": " << o.err;
  }
}

TEST(workload, is_made_from_a_rate_and_the_demo) {
  const auto file = std::filesystem::temp_directory_path() /
                    ("collm-load-" + std::to_string(::getpid()) + ".jsonl");
  const outcome o = collm_with(
      {"workload", "make", file.string(), "--rate", "5", "--count", "20", "--output", "json"});
  ASSERT_EQ(o.exit, success) << o.err;
  EXPECT_EQ(json::parse(o.out)["requests"], 20);
  std::ifstream in(file);
  std::string line;
  int lines = 0;
  while (std::getline(in, line)) ++lines;
  EXPECT_EQ(lines, 21) << "a header and one line a request";
  std::filesystem::remove(file);
}

TEST(workload, refuses_a_site_that_the_demo_lacks) {
  const outcome o = collm_with({"workload", "make", "/tmp/never.jsonl", "--sites", "kitchen,moon"});
  EXPECT_EQ(o.exit, wrong_usage);
  EXPECT_EQ(o.err, "collm: the demo has no site \"moon\"; it has kitchen and workshop\n");
}

}  // namespace
}  // namespace collm::cli
