// static_split on virtual time: what is set apart only trains, the others only serve. Production
// actors but for the shadows.
#include <gtest/gtest.h>

#include "coordinator/round_policy.hpp"
#include "tests/support/learning_rig.hpp"
#include "tests/support/site_node.hpp"

namespace collm {
namespace {

using namespace std::chrono_literals;
using schema::RoundState;
using testing_support::learning_rig;
using testing_support::site_node;
using testing_support::site_node_deps;

class static_split : public store::store_folder {
 protected:
  static actors::registry_actor::behavior_type no_head() {
    using namespace actors;
    const auto away = [] {
      return make_reply<msg<schema::VersionRecord>>(error{errc::unavailable, "no head"});
    };
    return {[away](const msg<schema::Register>&) { return away(); },
            [](list_atom) {
              return make_reply<msg<schema::VersionList>>(error{errc::unavailable, "no head"});
            },
            [away](promote_atom, const version_id&) { return away(); },
            [away](rollback_atom, const std::string&) { return away(); },
            [away](unload_atom, const std::string&) { return away(); },
            [](status_atom) {
              return msg<schema::ActorStatus>::build([](schema::ActorStatus::Builder) {});
            }};
  }

  site_node_deps node(learning_rig& rig, std::set<std::string> only_train, std::uint32_t replicas) {
    const auto registry = rig.system.keep(
        rig.system.get().spawn([](actors::registry_actor::pointer) { return no_head(); }));
    return {.name = "edge-a",
            .site = "kitchen",
            .registry = registry,
            .aggregator = {},
            .board = rig.board,
            .replicas = replicas,
            .only_train = std::move(only_train)};
  }
};

TEST_F(static_split, sends_no_request_to_what_is_set_apart_and_asks_nobody_else_to_train) {
  const auto apart = *coordinator::static_split_of(
      {{"kitchen", {"edge-a/0", "edge-a/1", "edge-a/2", "edge-a/3"}}}, 0.5);
  learning_rig rig(folder_,
                   {.policy = coordinator::training_policy::static_split, .trainers = apart});
  for (int i = 0; i < 4; ++i) rig.add_shadow("edge-a/" + std::to_string(i), "kitchen");
  site_node site(rig.system, node(rig, apart, 4));
  rig.start_head();
  // More than two replicas can do at once: the router would spread it over all that it knows.
  for (request_id id = 1; id <= 400; ++id) {
    site.send(id, "assistant", 20);
    rig.system.pass(50ms);
  }
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING));
  std::map<std::string, int> answered;
  for (const auto& [id, a] : site.answers) {
    ASSERT_EQ(a.finished, 1u) << id << ": " << a.message;
    ++answered[a.replica];
  }
  ASSERT_EQ(answered.size(), 2u);
  EXPECT_GT(answered["edge-a/0"], 50);
  EXPECT_GT(answered["edge-a/1"], 50);
  for (const auto& round : rig.rounds()) {
    const auto read = round.read();
    std::set<std::string> trained;
    for (const auto p : read->getParticipants()) trained.insert(p.getClient().cStr());
    EXPECT_EQ(trained, (std::set<std::string>{"edge-a/2", "edge-a/3"}));
  }
  EXPECT_EQ(rig.shadows[0]->accepted + rig.shadows[1]->accepted, 0u);
  EXPECT_GT(rig.shadows[2]->accepted, 0u);
}

TEST_F(static_split, a_node_whose_replicas_all_train_says_so_to_who_asks_it) {
  learning_rig rig(folder_);
  site_node site(rig.system, node(rig, {"edge-a/0"}, 1));
  site.send(1, "assistant");
  rig.system.pass(10s);
  EXPECT_EQ(site.answers[1].rejected, 1u);
  EXPECT_EQ(site.answers[1].message,
            "edge-a only trains (policy static_split); another node of its site answers");
}

}  // namespace
}  // namespace collm
