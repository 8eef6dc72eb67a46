// The learning demo over what an earlier one left: its first version can no longer be named, and
// rounds of that time stand in the head's list.
#include "cli/learning_demo.hpp"

#include <functional>
#include <sstream>

#include "tests/support/http_fixture.hpp"

namespace collm::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

/// Answers for both sites. Of what is asked by the bare name the first `before` answers come from
/// assistant@7; then round 9 promotes assistant@9.
class second_run : public gateway::fake::http_test {
 protected:
  struct head : gateway::fake::port {
    std::atomic<int> before{0};
    std::atomic<bool> promoted{false};

    void submit(msg<schema::Request> request, std::shared_ptr<gateway::stream> to) override {
      const auto r = request.read();
      const std::string model = r->getModel().cStr();
      if (model != "assistant")
        return to->reject(gateway::fake::reject(r->getId(), "not_found",
                                                "model '" + model + "' does not exist here"));
      if (before-- <= 0) promoted = true;
      to->accepted(gateway::fake::accepted(r->getId(), model, promoted ? 9 : 7));
      to->chunk(gateway::fake::chunk(r->getId(), "DONE", {}, schema::FinishReason::STOP));
      to->finish(gateway::fake::finish(r->getId(), schema::FinishReason::STOP));
    }
  };

  second_run() {
    options.role = gateway::gateway_role::head;
    training.tell_rounds = [this](schema::RoundList::Builder b) {
      const std::uint32_t count = answers.promoted ? 9 : 8;
      auto rounds = b.initRounds(count + 1);
      for (std::uint32_t i = 0; i <= count; ++i) {
        rounds[i].setAdapter("assistant");
        rounds[i].setNumber(i + 1);
        rounds[i].setVersion(i + 1);
        rounds[i].setState(i == count ? schema::RoundState::TRAINING
                           : i == 7   ? schema::RoundState::REJECTED
                                      : schema::RoundState::SERVING);
      }
    };
    answers.training = &training;
    answers.before = 2 * questions;
  }

  result<played> play(bool with_control = false) {
    auto made = gateway::http_server::start(options, answers, gateway::fake::byte_encoder());
    if (!made) return made.failure();
    const auto url = "http://127.0.0.1:" + std::to_string((*made)->port());
    json status = {{"nodes", json::array()},
                   {"versions", {{{"adapter", "assistant"}, {"number", 7}, {"state", "serving"}}}}};
    for (const char* site : {"kitchen", "workshop"})
      status["nodes"].push_back({{"name", site},
                                 {"site", site},
                                 {"state", "serving"},
                                 {"snapshot", {{"httpAddress", url}}}});
    const auto client = cluster_client::connect({url, "", ""});
    if (!client) return client.failure();
    console io(out, remarks, false);
    auto done = play_learning(io, *client, status,
                              {.adapter = "assistant",
                               .alone = with_control,
                               .serving_seconds = 1,
                               .serving_rate = 4,
                               .first_questions = 1,
                               .questions = questions,
                               .over = over});
    (*made)->stop();
    return done;
  }

  static constexpr std::uint32_t questions = 2;
  std::function<bool()> over;
  head answers;
  gateway::fake::federation_double training;
  std::ostringstream out, remarks;
};

TEST_F(second_run, asks_the_version_that_serves_and_names_it) {
  const auto done = play();
  ASSERT_TRUE(done) << done.failure().message;
  EXPECT_THAT(remarks.str(), HasSubstr("asking 2 questions a site, before")) << "as many as after";
  EXPECT_EQ(done->report["answered_by"]["before"], "assistant@7");
  EXPECT_EQ(done->report["answered_by"]["after"], "assistant@9");
  EXPECT_THAT(done->text, HasSubstr("before by assistant@7, after by assistant@9\n"));
  for (const char* site : {"kitchen", "workshop"})
    for (const char* when : {"before", "after"})
      EXPECT_TRUE(done->report["exact_match"][site].contains(when)) << site << " " << when;
}

TEST_F(second_run, counts_and_tells_its_own_rounds_alone) {
  const auto done = play();
  ASSERT_TRUE(done) << done.failure().message;
  EXPECT_EQ(done->report["rounds"], 1u);
  EXPECT_EQ(done->report["promoted"], 1u);
  EXPECT_THAT(remarks.str(), HasSubstr("round 9: serving as assistant@9"));
  EXPECT_THAT(remarks.str(), Not(HasSubstr("round 8")));
}

TEST_F(second_run, ends_without_a_report_when_it_is_stopped_while_it_learns) {
  over = [this] { return answers.promoted.load(); };
  const auto done = play();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.failure().code, errc::cancelled);
  EXPECT_THAT(remarks.str(), HasSubstr("learns"));
  EXPECT_THAT(remarks.str(), Not(HasSubstr("asking again")));
}

TEST_F(second_run, reports_without_a_control_that_has_not_finished_a_task) {
  const auto done = play(true);
  ASSERT_TRUE(done) << done.failure().message;
  EXPECT_EQ(done->report["answered_by"]["after"], "assistant@9");
  EXPECT_FALSE(done->report["exact_match"]["kitchen"].contains("alone"));
  EXPECT_THAT(done->report["alone_failed"], HasSubstr("'assistant-alone' does not exist here"));
}

}  // namespace
}  // namespace collm::cli
