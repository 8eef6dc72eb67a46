// What the head's gateway lists as models, by what its nodes serve; requests that are lost.
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

/// A client's side that finds no memory for what it is told first.
struct stream_without_memory final : gateway::stream {
  std::promise<std::string> told;
  void accepted(msg<schema::Accepted>) override { throw std::bad_alloc(); }
  void chunk(msg<schema::TokenChunk>) override {}
  void finish(msg<schema::Finish>) override {}
  void reject(msg<schema::Reject> m) override { told.set_value(m.read()->getMessage().cStr()); }
};

/// Accepts and says nothing more.
router_actor::behavior_type accepts(router_actor::pointer self) {
  return {[self](const msg<schema::Request>& r, const sink_actor& sink) {
            self->send(sink, msg<schema::Accepted>::build([&](schema::Accepted::Builder b) {
                         b.setRequest(r.read()->getId());
                       }));
          },
          [](cancel_atom, request_id, const sink_actor&) {},
          [](const msg<schema::VersionRecord>&) {},
          [](const replica_report_ptr&) {},
          [](list_atom) { return msg<schema::VersionList>::build([](auto) {}); },
          [](drain_atom) {},
          [](status_atom) { return msg<schema::ActorStatus>::build([](auto) {}); }};
}

TEST(a_request, whose_bridge_ends_without_a_word_leaves_the_books_and_its_client_hears_of_it) {
  caf::actor_system_config config;
  caf::actor_system system(config);
  port_deps deps;
  deps.router = system.spawn(accepts);
  deps.in_flight = std::make_shared<std::atomic<std::uint32_t>>(0);
  deps.bridges = std::make_shared<meter>("bridge", "");
  const auto to = std::make_shared<stream_without_memory>();
  {
    actor_port port(system, deps, 1);
    port.submit(msg<schema::Request>::build([](schema::Request::Builder b) { b.setId(1); }), to);
    auto told = to->told.get_future();
    ASSERT_EQ(told.wait_for(std::chrono::seconds(20)), std::future_status::ready);
    EXPECT_THAT(told.get(), testing::HasSubstr("was lost"));
    EXPECT_EQ(deps.in_flight->load(), 0u);
    EXPECT_EQ(port.end_all("over"), 0u) << "it is in the books still";
  }
  caf::anon_send_exit(deps.router, caf::exit_reason::kill);
}

}  // namespace
}  // namespace collm::deploy
