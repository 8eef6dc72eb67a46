// Production actors of one node on virtual time: every request is answered, refused or failed with
// a reason, by exactly one version.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/serving_rig.hpp"

namespace collm {
namespace {

using testing_support::modelled_executor;
using testing_support::rig_options;
using testing_support::seen_answer;
using testing_support::serving_rig;
using namespace std::chrono_literals;

std::vector<std::int32_t> expected(const std::string& digest,
                                   const std::vector<std::int32_t>& prompt, std::uint32_t count) {
  std::vector<std::int32_t> out;
  for (std::uint32_t i = 0; i < count; ++i)
    out.push_back(modelled_executor::next_token(digest, prompt, i, 0));
  return out;
}

TEST(serving, a_request_is_accepted_streamed_and_finished_once) {
  serving_rig rig;
  const auto id = rig.send("assistant", {1, 2, 3}, 5);
  rig.system.pass(2s);
  const auto& a = rig.answers[id];
  EXPECT_EQ(a.accepted, 1u);
  EXPECT_EQ(a.adapter, "assistant");
  EXPECT_EQ(a.version, 0u);
  EXPECT_EQ(a.tokens, expected("first", {1, 2, 3}, 5));
  EXPECT_EQ(a.finished, 1u);
  EXPECT_EQ(a.reason, schema::FinishReason::LENGTH);
  EXPECT_TRUE(a.ended);
  EXPECT_EQ(rig.in_flight, 0u);
}

/// A machine that does what the untaught model of it says: 1 ms a prompt token, 2 ms a decode.
std::chrono::microseconds as_modelled(const coordinator::step_features& f) {
  return std::chrono::microseconds(std::llround(1000 * (2 + f.prefill_tokens + 2 * f.decodes)));
}

TEST(serving, a_prompt_that_waits_delays_the_next_one_once) {
  serving_rig rig({.running_max = 1, .step_time = as_modelled});
  rig.send("assistant", {1}, 4000);  // decodes all the while
  rig.system.pass(500ms);
  const auto waits = rig.send("assistant", std::vector<std::uint32_t>(900, 1), 4);
  rig.system.pass(800ms);  // over the engine's report
  const auto next = rig.send("assistant", std::vector<std::uint32_t>(300, 2), 4);
  rig.system.pass(10ms);
  EXPECT_EQ(rig.answers[waits].code, "");
  EXPECT_EQ(rig.answers[next].code, "") << rig.answers[next].message;
}

TEST(serving, a_refusal_after_idleness_says_come_back_soon) {
  serving_rig rig({.queued_max = 1, .running_max = 1, .step_time = as_modelled});
  for (int i = 0; i < 20; ++i) {
    rig.send("assistant", {1}, 10);
    rig.system.pass(200ms);
  }
  rig.system.pass(120s);
  rig.send("assistant", {1}, 100);
  rig.send("assistant", {1}, 100);
  const auto refused = rig.send("assistant", {1}, 100);
  rig.system.pass(10ms);
  EXPECT_EQ(rig.answers[refused].code, "overloaded");
  EXPECT_LE(rig.answers[refused].retry_after_ms, 3000u);
}

TEST(serving, every_choice_of_n_is_streamed) {
  serving_rig rig;
  const auto id = rig.send("assistant", {7}, 4, 1u << 30, 3);
  rig.system.pass(2s);
  EXPECT_EQ(rig.answers[id].tokens.size(), 12u);
  EXPECT_EQ(rig.answers[id].finished, 1u);
}

TEST(serving, the_base_answers_by_its_own_name_and_unknown_names_are_listed) {
  serving_rig rig;
  const auto base = rig.send("tiny", {1}, 2);
  const auto unknown = rig.send("assistent", {1}, 2);
  const auto old = rig.send("assistant@7", {1}, 2);
  rig.system.pass(2s);
  EXPECT_EQ(rig.answers[base].tokens, expected("base", {1}, 2));
  EXPECT_EQ(rig.answers[unknown].code, "not_found");
  EXPECT_NE(rig.answers[unknown].message.find("assistant (= assistant@0)"), std::string::npos);
  EXPECT_EQ(rig.answers[old].code, "not_found");
}

TEST(serving, p1_swaps_under_load_change_no_running_answer) {
  serving_rig rig;
  std::map<request_id, std::vector<std::int32_t>> prompts;
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 3; ++i) {
      const std::vector<std::int32_t> prompt = {round, i, 5};
      const auto id = rig.send("assistant", {std::uint32_t(round), std::uint32_t(i), 5}, 50);
      prompts[id] = prompt;
    }
    rig.load("version-" + std::to_string(round));
    rig.system.pass(7ms);  // a few steps happen, most answers are still running
  }
  rig.system.pass(5s);
  // Some loads are refused: at most three versions of an adapter are in memory. The registry knows
  // which digest got which number.
  std::map<std::uint32_t, std::string> digests;
  const auto listed = rig.system.ask<actors::reply<msg<schema::VersionList>>>(
      rig.registry, actors::list_atom::value);
  const auto versions = (**listed).read();
  for (const auto v : versions->getVersions()) digests[v.getNumber()] = v.getDigest().cStr();
  std::uint32_t newest = 0;
  for (const auto& [id, prompt] : prompts) {
    const auto& a = rig.answers[id];
    ASSERT_EQ(a.finished, 1u) << id;
    EXPECT_EQ(a.tokens, expected(digests.at(a.version), prompt, 50))
        << "request " << id << " by version " << a.version;
    newest = std::max(newest, a.version);
  }
  EXPECT_GT(newest, 0u);
}

TEST(serving, a_replaced_version_is_freed_when_its_last_pin_ends) {
  serving_rig rig;
  rig.load("second");
  rig.system.pass(1s);
  EXPECT_EQ(rig.executor->resident(), (std::vector<version_id>{{"assistant", 1}}));
  const auto id = rig.send("assistant", {1}, 3);
  rig.system.pass(2s);
  EXPECT_EQ(rig.answers[id].version, 1u);
  EXPECT_EQ(rig.answers[id].tokens, expected("second", {1}, 3));
}

TEST(serving, a_version_loaded_again_before_its_last_pin_ends_keeps_serving) {
  serving_rig rig;
  const auto long_one = rig.send("assistant", {1}, 500);
  rig.system.pass(20ms);
  rig.load("second");
  rig.system.pass(20ms);
  rig.load("first");  // back to assistant@0, which the long answer still holds
  rig.system.pass(5s);
  EXPECT_EQ(rig.answers[long_one].tokens, expected("first", {1}, 500));
  const auto id = rig.send("assistant", {2}, 3);
  rig.system.pass(2s);
  EXPECT_EQ(rig.answers[id].code, "");
  EXPECT_EQ(rig.answers[id].version, 0u);
  EXPECT_EQ(rig.answers[id].tokens, expected("first", {2}, 3));
}

TEST(serving, a_request_that_waits_while_its_version_leaves_is_answered_by_the_next) {
  serving_rig rig({.running_max = 1});
  rig.send("assistant", {1}, 200);
  const auto waits = rig.send("assistant", {2}, 3);
  rig.system.pass(20ms);
  rig.load("second");
  rig.system.pass(5s);
  EXPECT_EQ(rig.answers[waits].code, "");
  EXPECT_EQ(rig.answers[waits].version, 1u);
  EXPECT_EQ(rig.answers[waits].tokens, expected("second", {2}, 3));
}

TEST(serving, a_bad_folder_is_refused_with_the_tensor_and_changes_nothing) {
  serving_rig rig;
  const auto answer = rig.system.ask<actors::reply<msg<schema::VersionRecord>>>(
      rig.node, actors::load_atom::value, std::string("assistant"), std::string("bad"));
  ASSERT_FALSE(*answer);
  EXPECT_NE((*answer).failure().message.find("tensor q"), std::string::npos);
  EXPECT_EQ(rig.executor->resident(), (std::vector<version_id>{{"assistant", 0}}));
}

TEST(serving, beyond_the_queue_requests_are_refused_with_a_time_to_come_back) {
  serving_rig rig({.queued_max = 4, .running_max = 2});
  for (int i = 0; i < 20; ++i) rig.send("assistant", {std::uint32_t(i)}, 200);
  rig.system.pass(2s);
  int answered = 0, refused = 0;
  for (const auto& [id, a] : rig.answers) {
    EXPECT_EQ(a.finished + a.rejected, 1u);
    answered += a.finished == 1 ? 1 : 0;
    if (a.rejected == 1) {
      ++refused;
      EXPECT_EQ(a.code, "overloaded");
      EXPECT_GE(a.retry_after_ms, 1000u);
      EXPECT_LE(a.retry_after_ms, 60000u);
    }
  }
  EXPECT_EQ(answered + refused, 20);
  EXPECT_GE(answered, 6);
  EXPECT_GT(refused, 0);
}

TEST(serving, a_slow_reader_is_cut_off_and_stalls_nobody) {
  serving_rig rig({.unsent_tokens_max = 32});
  const auto slow = rig.send("assistant", {1}, 500, 4);
  const auto quick = rig.send("assistant", {2}, 500);
  rig.system.pass(2s);
  EXPECT_EQ(rig.answers[slow].reason, schema::FinishReason::SLOW_READER);
  EXPECT_EQ(rig.answers[slow].tokens.size(), 4u);
  EXPECT_EQ(rig.answers[quick].tokens.size(), 500u);
  EXPECT_EQ(rig.executor->cache().blocks_free, rig.executor->cache().blocks_total);
}

TEST(serving, a_client_that_goes_away_frees_its_blocks) {
  serving_rig rig;
  const auto id = rig.send("assistant", {1, 2, 3}, 1000, 4);
  rig.system.pass(20ms);
  caf::anon_send(rig.bridges[id], actors::cancel_atom::value);
  rig.system.pass(2s);
  EXPECT_EQ(rig.answers[id].reason, schema::FinishReason::CANCELLED);
  EXPECT_LT(rig.answers[id].tokens.size(), 1000u);
  EXPECT_EQ(rig.executor->cache().blocks_free, rig.executor->cache().blocks_total);
  EXPECT_EQ(rig.in_flight, 0u);
}

TEST(serving, what_is_open_when_its_gateway_stops_is_refused_or_ends_with_the_reason) {
  serving_rig rig({.running_max = 1, .unsent_tokens_max = 5000});
  const auto unread = rig.send("assistant", {2}, 5, 0);
  rig.system.pass(200ms);  // computed; its reader takes nothing
  const auto running = rig.send("assistant", {1}, 4000);
  rig.system.pass(20ms);
  const auto waiting = rig.send("assistant", {3}, 5);
  rig.system.pass(20ms);
  EXPECT_EQ(rig.in_flight, 3u);
  for (const auto& [id, bridge] : rig.bridges)
    caf::anon_send(bridge, actors::drain_atom::value, std::string("the head was stopped"));
  rig.system.pass(100ms);
  for (const auto id : {running, unread}) {
    EXPECT_EQ(rig.answers[id].finished, 1u);
    EXPECT_EQ(rig.answers[id].reason, schema::FinishReason::ERROR);
    EXPECT_EQ(rig.answers[id].message, "the head was stopped");
  }
  EXPECT_EQ(rig.answers[waiting].code, "draining");
  EXPECT_EQ(rig.answers[waiting].message, "the head was stopped");
  EXPECT_GT(rig.answers[waiting].retry_after_ms, 0u);
  EXPECT_EQ(rig.in_flight, 0u);
  EXPECT_EQ(rig.executor->cache().blocks_free, rig.executor->cache().blocks_total);
}

TEST(serving, a_client_that_goes_away_after_the_last_token_leaves_nothing_behind) {
  serving_rig rig;
  const auto id = rig.send("assistant", {1}, 50, 4);
  rig.system.pass(2s);  // the engine is done, 46 tokens wait for a reader
  EXPECT_EQ(rig.answers[id].finished, 0u);
  caf::anon_send(rig.bridges[id], actors::cancel_atom::value);
  rig.system.pass(1s);
  EXPECT_EQ(rig.answers[id].reason, schema::FinishReason::CANCELLED);
  EXPECT_EQ(rig.in_flight, 0u);
}

TEST(serving, a_bridge_that_dies_is_noticed_by_the_engine) {
  serving_rig rig;
  const auto id = rig.send("assistant", {1}, 100000, 1u << 30);
  rig.system.pass(20ms);
  EXPECT_LT(rig.executor->cache().blocks_free, rig.executor->cache().blocks_total);
  caf::anon_send_exit(caf::actor_cast<caf::actor>(rig.bridges[id]), caf::exit_reason::kill);
  rig.bridges.erase(id);
  rig.system.pass(2s);
  EXPECT_EQ(rig.executor->cache().blocks_free, rig.executor->cache().blocks_total);
}

TEST(serving, sequences_are_preempted_and_end_the_same_when_blocks_run_out) {
  serving_rig rig({.blocks = 12});
  std::vector<request_id> ids;
  for (std::uint32_t i = 0; i < 4; ++i) ids.push_back(rig.send("assistant", {i}, 100));
  rig.system.pass(1s);
  for (std::uint32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(rig.answers[ids[i]].tokens, expected("first", {static_cast<std::int32_t>(i)}, 100))
        << i;
  }
}

TEST(serving, p11_three_failed_steps_in_a_row_start_a_new_engine_with_the_same_versions) {
  serving_rig rig;
  rig.load("second");
  rig.system.pass(1s);
  rig.executor->failing_steps = 1000;
  std::vector<request_id> ids;
  for (std::uint32_t i = 0; i < 6; ++i) {
    ids.push_back(rig.send("assistant", {i}, 10));
    rig.system.pass(2s);
  }
  rig.system.pass(3s);
  EXPECT_GE(rig.engines_made, 2);
  for (auto id : ids) EXPECT_TRUE(rig.answers[id].ended);
  rig.executor->failing_steps = 0;
  const auto after = rig.send("assistant", {4}, 10);
  rig.system.pass(2s);
  EXPECT_EQ(rig.answers[after].version, 1u);
  EXPECT_EQ(rig.answers[after].tokens, expected("second", {4}, 10));
}

TEST(serving, an_engine_that_cannot_be_made_is_tried_again_as_requests_come) {
  serving_rig rig;
  rig.load("first");
  rig.executor->failing_steps = 3;
  rig.no_engine = true;
  std::vector<request_id> ids;
  for (std::uint32_t i = 0; i < 8; ++i) {
    ids.push_back(rig.send("assistant", {i}, 10));
    rig.system.pass(300ms);
  }
  rig.system.pass(30s);
  for (const auto id : ids) {
    EXPECT_TRUE(rig.answers[id].ended);
    EXPECT_NE(rig.answers[id].tokens.size(), 10u);
  }
  EXPECT_EQ(rig.answers[ids.back()].code, "unavailable");
  rig.no_engine = false;
  rig.system.pass(1s);
  const auto made = rig.engines_made;
  rig.load("second");  // an engine is needed for that as well
  rig.system.pass(1s);
  EXPECT_EQ(rig.engines_made, made + 1);
  const auto after = rig.send("assistant", {4}, 10);
  rig.system.pass(2s);
  EXPECT_EQ(rig.answers[after].tokens, expected("second", {4}, 10));
}

TEST(serving, a_draining_node_refuses_new_requests_and_finishes_what_runs) {
  serving_rig rig;
  const auto running = rig.send("assistant", {1}, 50);
  rig.system.pass(20ms);
  caf::anon_send(rig.node, actors::drain_atom::value, std::uint32_t{5000});
  rig.system.settle();
  const auto late = rig.send("assistant", {2}, 5);
  rig.system.pass(1s);
  EXPECT_EQ(rig.answers[late].code, "draining");
  EXPECT_EQ(rig.answers[running].tokens.size(), 50u);
}

TEST(serving, what_runs_at_a_drains_deadline_ends_with_that_reason_and_what_waits_goes_elsewhere) {
  serving_rig rig({.running_max = 1, .step_time = as_modelled});
  const auto running = rig.send("assistant", {1}, 4000);
  rig.system.pass(20ms);
  const auto waiting = rig.send("assistant", {2}, 5);
  rig.system.pass(20ms);
  caf::scoped_actor self(rig.system.get());
  auto asked = self->request(rig.node, caf::infinite, actors::drain_atom::value, 500u);
  rig.system.pass(495ms);
  EXPECT_FALSE(rig.answers[running].ended) << "the deadline has not come";
  rig.system.pass(15ms);
  EXPECT_TRUE(rig.answers[running].ended) << "and is noticed when it comes";
  rig.system.pass(2s);
  EXPECT_EQ(rig.answers[running].reason, schema::FinishReason::ERROR);
  EXPECT_EQ(rig.answers[running].message,
            "edge-a was drained: this request was still running at the deadline");
  EXPECT_EQ(rig.answers[waiting].code, "draining") << "asked again, of a router that drains";
  EXPECT_EQ(rig.in_flight, 0u);
  EXPECT_EQ(rig.events("drain_deadline"),
            std::vector<std::string>{"2 requests were still running: ended"});
  asked.receive(
      [](const actors::reply<void>& r) {
        ASSERT_FALSE(*r);
        EXPECT_EQ(r->failure().code, errc::timeout);
        EXPECT_EQ(r->failure().message,
                  "edge-a is drained; 2 requests were still running at the deadline and were "
                  "ended");
      },
      [](const caf::error& e) { FAIL() << to_string(e); });
}

TEST(serving, no_actor_met_a_message_or_error_that_it_does_not_know) {
  serving_rig rig;
  for (std::uint32_t i = 0; i < 10; ++i) rig.send("assistant", {i}, 20);
  rig.load("second");
  rig.system.pass(3s);
  for (const auto& m : rig.board->all()) {
    EXPECT_EQ(m->unexpected(), 0u) << m->name();
    EXPECT_EQ(m->failures(), 0u) << m->name();
    EXPECT_GT(m->processed(), 0u) << m->name();
  }
  const auto text = rig.system.ask<std::string>(rig.telemetry, actors::metrics_atom::value);
  EXPECT_NE(text.find("collm_request_success_total"), std::string::npos);
  const auto snapshot =
      rig.system.ask<msg<schema::Snapshot>>(rig.telemetry, actors::list_atom::value);
  EXPECT_EQ(snapshot.read()->getRequests().getAnswered(), 10);
}

}  // namespace
}  // namespace collm
