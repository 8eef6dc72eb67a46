// What the head's gateway lists as models, by what its nodes serve.
#include "deploy/actor_port.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

namespace collm::deploy {
namespace {

using namespace actors;
using testing::ElementsAre;

struct seen_node {
  schema::NodeState state;
  std::vector<std::string> missing;
};

/// A supervisor that knows one serving version, polite@0, and these nodes.
supervisor_actor spawn_supervisor(caf::actor_system& system, std::vector<seen_node> nodes) {
  return system.spawn([nodes](supervisor_actor::pointer) -> supervisor_actor::behavior_type {
    using record = msg<schema::VersionRecord>;
    const auto none = [] { return make_reply<record>(error{errc::not_found, "none"}); };
    return {
        [](join_atom, const msg<schema::Hello>&, const router_actor&, const node_actor&) {},
        [](leave_atom, const std::string&, std::uint64_t, const std::string&) {},
        [](beat_atom, const std::string&, std::uint64_t, const msg<schema::Snapshot>&) {},
        [](const child_exit&) {},
        [](slot_atom) {},
        [nodes](list_atom) {
          return msg<schema::ClusterStatus>::build([&](schema::ClusterStatus::Builder b) {
            auto version = b.initVersions(1)[0];
            version.setAdapter("polite");
            version.setState(schema::VersionState::SERVING);
            auto out = b.initNodes(static_cast<std::uint32_t>(nodes.size()));
            for (std::uint32_t i = 0; i < nodes.size(); ++i) {
              out[i].setState(nodes[i].state);
              auto missing =
                  out[i].initMissing(static_cast<std::uint32_t>(nodes[i].missing.size()));
              for (std::uint32_t k = 0; k < nodes[i].missing.size(); ++k)
                missing.set(k, nodes[i].missing[k]);
            }
          });
        },
        [](drain_atom, const std::string&, bool, std::uint32_t) { return make_reply<void>({}); },
        [none](load_atom, const std::string&, const std::string&) { return none(); },
        [none](unload_atom, const std::string&) { return none(); },
        [](status_atom) { return msg<schema::ActorStatus>::build([](auto) {}); },
    };
  });
}

std::vector<std::string> listed(std::vector<seen_node> nodes) {
  caf::actor_system_config config;
  caf::actor_system system(config);
  port_deps deps;
  deps.base_name = "tiny";
  deps.supervisor = spawn_supervisor(system, std::move(nodes));
  std::promise<std::vector<std::string>> ids;
  {
    actor_port port(system, deps, 1);
    port.models([&](const std::vector<gateway::model_row>& rows) {
      std::vector<std::string> out;
      for (const auto& row : rows) out.push_back(row.id);
      ids.set_value(std::move(out));
    });
    auto answer = ids.get_future();
    EXPECT_EQ(answer.wait_for(std::chrono::seconds(20)), std::future_status::ready);
    caf::anon_send_exit(deps.supervisor, caf::exit_reason::kill);
    return answer.get();
  }
}

constexpr auto serving = schema::NodeState::SERVING, lost = schema::NodeState::LOST;

TEST(models_of_the_head, are_those_that_a_serving_node_has) {
  EXPECT_THAT(listed({{serving, {}}, {serving, {"polite@0"}}}),
              ElementsAre("tiny", "polite", "polite@0"));
  EXPECT_THAT(listed({{serving, {"polite@0"}}, {serving, {"polite@0"}}}), ElementsAre("tiny"));
}

TEST(models_of_the_head, are_not_those_that_only_a_lost_node_would_have) {
  EXPECT_THAT(listed({{lost, {}}, {serving, {"polite@0"}}}), ElementsAre("tiny"));
  EXPECT_THAT(listed({{lost, {}}}), ElementsAre("tiny"));
}

}  // namespace
}  // namespace collm::deploy
