// A supervisor on virtual time, with one node whose process, link and gateway are the test's to
// play.
#pragma once

#include <gtest/gtest.h>

#include "actors/supervisor.hpp"
#include "messages/limits.hpp"
#include "tests/support/modelled_telemetry.hpp"
#include "tests/support/serving_rig.hpp"

namespace collm::testing_support {

using namespace actors;

class supervision : public testing::Test {
 protected:
  void SetUp() override {
    telemetry_ = system_.keep(system_.get().spawn(
        telemetry_behavior, modelled_telemetry("head", "", board_, board_->make("telemetry", ""))));
    auto registry = system_.keep(system_.get().spawn(
        registry_behavior,
        registry_deps{versions_, "base", telemetry_, "head", board_->make("registry", "")}));
    auto ingress = system_.keep(
        system_.get().spawn([this](site_router_actor::pointer) { return noting_routes(); }));
    supervisor_ = system_.keep(system_.get().spawn(
        supervisor_behavior,
        supervisor_deps{.cluster = "demo",
                        .product_version = "0",
                        .base_name = "tiny",
                        .base_digest = "base",
                        .precision = "int8",
                        .nodes = {planned_},
                        .inactive = {},
                        .launch = [this](const std::string&,
                                         std::uint64_t incarnation) -> result<std::int32_t> {
                          if (launch_fails_) return error{errc::io, "no such binary"};
                          incarnation_ = incarnation;
                          return ++pid_;
                        },
                        .kill = [this](std::int32_t pid) { killed_.push_back(pid); },
                        .away = [this](const std::string&) { away_ = true; },
                        .telemetry = telemetry_,
                        .registry = registry,
                        .ingress = ingress,
                        .on_serving =
                            [this](std::uint32_t answering, std::uint32_t own) {
                              serving_ = answering;
                              own_ = own;
                            },
                        .counts = board_->make("supervisor", "")}));
    system_.settle();
  }

  /// An ingress that only notes whether there is a way to the node.
  site_router_actor::behavior_type noting_routes() {
    return {[](const msg<schema::Request>&, const sink_actor&) {},
            [](cancel_atom, request_id, const sink_actor&) {},
            [](const msg<schema::VersionRecord>&) {},
            [](const replica_report_ptr&) {},
            [](list_atom) { return msg<schema::VersionList>::build([](auto) {}); },
            [](drain_atom) {},
            [](status_atom) { return msg<schema::ActorStatus>::build([](auto) {}); },
            [this](const node_route& n) { routed_ = static_cast<bool>(n.router); }};
  }

  /// As a link does it: the first beat follows at once.
  void join() { join(rig_.node); }
  void join(const node_actor& control) {
    join_without_a_report(control);
    beat();
  }
  void join_without_a_report(const node_actor& control) {
    auto hello = msg<schema::Hello>::build([&](schema::Hello::Builder b) {
      b.setName("edge-a");
      b.setSite("kitchen");
      b.setIncarnation(incarnation_);
      b.setPid(static_cast<std::uint32_t>(pid_));
    });
    caf::anon_send(supervisor_, join_atom::value, hello, router_actor(rig_.router), control);
    system_.settle();
  }
  void beat(std::uint32_t replicas = 1, bool draining = false) {
    caf::anon_send(supervisor_, beat_atom::value, std::string("edge-a"), incarnation_,
                   msg<schema::Snapshot>::build([&](schema::Snapshot::Builder b) {
                     b.setNode("edge-a");
                     b.setDraining(draining);
                     auto r = b.initReplicas(replicas);
                     for (std::uint32_t i = 0; i < replicas; ++i)
                       r[i].setName("edge-a/" + std::to_string(i));
                   }));
    system_.settle();
  }
  void exit_of(std::int32_t pid, int status) {
    caf::anon_send(supervisor_, child_exit{"edge-a", pid, status});
    system_.settle();
  }
  /// Whether a drain went well; its process ends in order.
  bool drain(bool again, int status = 0) {
    caf::scoped_actor self(system_.get());
    auto asked = self->request(supervisor_, caf::infinite, drain_atom::value, std::string("edge-a"),
                               again, drain_deadline_ms);
    system_.settle();
    if (state() == schema::NodeState::DRAINING) exit_of(pid_, status);
    bool done = false;
    asked.receive([&](const reply<void>& r) { done = static_cast<bool>(*r); },
                  [](const caf::error& e) { FAIL() << caf::to_string(e); });
    return done;
  }
  msg<schema::ClusterStatus> status() {
    return system_.ask<msg<schema::ClusterStatus>>(supervisor_, list_atom::value);
  }
  schema::NodeState state() { return status().read()->getNodes()[0].getState(); }
  std::string reason() { return status().read()->getNodes()[0].getReason().cStr(); }
  std::vector<std::string> missing() {
    std::vector<std::string> out;
    const auto told = status();
    const auto view = told.read();
    for (const auto id : view->getNodes()[0].getMissing()) out.emplace_back(id.cStr());
    return out;
  }
  void register_serving(const std::string& name, const std::string& digest) {
    store::version_row row;
    row.id.name = name;
    row.digest = digest;
    ASSERT_TRUE(versions_->add(row));
    ASSERT_TRUE(versions_->promote({name, 0}));
  }

  std::shared_ptr<memory_versions> versions_ = std::make_shared<memory_versions>();
  serving_rig rig_;  // lends a router and a node handle
  virtual_system system_;
  meter_board_ptr board_ = std::make_shared<meter_board>();
  telemetry_actor telemetry_;
  head_supervisor_actor supervisor_;
  planned_node planned_{"edge-a", "kitchen", true};
  std::int32_t pid_ = 1000;
  std::uint64_t incarnation_ = 0;
  std::vector<std::int32_t> killed_;
  std::uint32_t serving_ = 0, own_ = 0;
  bool launch_fails_ = false, routed_ = false, away_ = false;
};

}  // namespace collm::testing_support
