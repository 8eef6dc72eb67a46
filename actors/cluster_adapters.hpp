// An operator's load and unload at the head: asked of every node that serves. A part of the
// supervisor; its thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "actors/supervisor.hpp"

namespace collm::actors {

class cluster_adapters {
 public:
  using self_ptr = head_supervisor_actor::stateful_pointer<supervisor_state>;
  using record = msg<schema::VersionRecord>;

  /// `serving`: the nodes to ask, now.
  cluster_adapters(self_ptr self, registry_actor registry,
                   std::function<std::vector<node_actor>()> serving)
      : self_(self), registry_(std::move(registry)), serving_(std::move(serving)) {}

  /// One node after the other, so that the same digest gets its number once.
  caf::result<reply<record>> load(const std::string& name, const std::string& folder);
  /// The registry first, or nodes would bring back what they are told to drop; then every serving
  /// node. One that is away follows when it comes back.
  caf::result<reply<record>> unload(const std::string& name);

 private:
  using record_promise = caf::typed_response_promise<reply<record>>;

  void load_at_next(record_promise promise, std::vector<node_actor> left, const std::string& name,
                    const std::string& folder);
  void withdraw_from_next(record_promise promise, const reply<record>& retired,
                          std::vector<node_actor> left);

  self_ptr self_;
  registry_actor registry_;
  std::function<std::vector<node_actor>()> serving_;
};

}  // namespace collm::actors
