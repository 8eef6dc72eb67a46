// The head's requests in flight on one node: Node.generate calls whose answers go to sink actors.
// Every request ends once: by the node's Finish or Reject, or, if the call fails, Reject before it
// was accepted and Finish reason error after. Loop thread.
#pragma once

#include <kj/async.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "actors/interfaces.hpp"
#include "messages/link.capnp.h"

namespace collm::link {

class remote_requests final : private kj::TaskSet::ErrorHandler {
 public:
  remote_requests(std::string node, schema::Node::Client to);
  ~remote_requests() noexcept;

  void start(const msg<schema::Request>& request, const actors::sink_actor& sink);
  /// Drops the call, which cancels it on the node.
  void cancel(request_id id, const actors::sink_actor& sink);
  /// Ends all of them with this failure; none starts any more.
  void end_all(const error& why);

  static constexpr std::uint32_t in_flight_max = 4096;  // far above what one node's queues admit

  struct entry;

 private:
  using key = std::pair<request_id, caf::actor_id>;  // ids repeat across gateways

  void finish(const key& at, schema::GenerateResult::Reader outcome);
  void fail(const key& at, const error& why);
  void taskFailed(kj::Exception&& e) override;

  const std::string node_;
  schema::Node::Client to_;
  std::map<key, std::shared_ptr<entry>> entries_;
  bool ended_ = false;
  kj::TaskSet calls_;
};

}  // namespace collm::link
