// The head's end of one node's connection: join and its checks, the session, the calls that the
// node's proxies make. Loop thread; its proxies reach it by way_to_node.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "link/connection.hpp"
#include "link/link.hpp"
#include "link/proxies.hpp"
#include "link/remote_requests.hpp"
#include "link/training_rules.hpp"

namespace collm::link {

/// What all connections of one link_server share.
struct head_context {
  loop& on;
  caf::actor_system& system;
  const server_options options;
  const server_actors to;
  caf::actor courier;
  std::map<std::string, std::uint64_t> incarnations;  ///< highest that has joined, by node
  /// Makes way for a node that joins again: ends the connection that it had.
  std::function<void(const std::string& node, const std::string& reason)> replace;
};

class head_connection final : public node_calls,
                              public std::enable_shared_from_this<head_connection>,
                              private kj::TaskSet::ErrorHandler {
 public:
  /// `common_name`: of the peer's certificate.
  head_connection(head_context& shared, std::string common_name);
  ~head_connection() noexcept override;

  /// Takes the stream over; the promise is done, with the reason, when the connection has ended.
  kj::Promise<std::string> serve(kj::Own<kj::AsyncIoStream> stream);
  /// Ends it from our side.
  void close(const std::string& reason);
  /// After the end: answers what is owed, tells the supervisor.
  void leave(const std::string& reason);

  const std::string& node() const { return node_; }  ///< empty before it joined
  const std::string& common_name() const { return common_name_; }

  // -- what the peer calls
  result<void> join(schema::Hello::Reader hello, schema::Node::Client node);
  void beat(schema::Snapshot::Reader snapshot);
  void event(schema::Event::Reader event);
  head_context& shared() { return shared_; }
  /// Whose word this session is; the site is the manifest's, which join has checked.
  speaker speaks_for() const { return {node_, site_}; }
  /// Calls about training that wait for an actor; outlives this connection.
  std::shared_ptr<std::uint32_t> training_calls() const { return training_calls_; }

  // -- what the proxies call
  void generate(const msg<schema::Request>& request, const actors::sink_actor& sink) override;
  void cancel(request_id id, const actors::sink_actor& sink) override;
  void announce(const msg<schema::VersionRecord>& record) override;
  void versions(std::function<void(result<msg<schema::VersionList>>)> reply) override;
  void load(const std::string& adapter, const std::string& folder,
            node_owed<msg<schema::VersionRecord>> reply) override;
  void unload(const version_id& id, node_owed<void> reply) override;
  void drain(std::uint32_t deadline_ms, node_owed<void> reply) override;

 private:
  result<void> check(schema::Hello::Reader hello) const;
  kj::Promise<std::string> watch();
  void taskFailed(kj::Exception&& e) override;

  head_context& shared_;
  const std::string common_name_;
  std::string node_, site_;
  const std::shared_ptr<std::uint32_t> training_calls_ = std::make_shared<std::uint32_t>(0);
  std::uint64_t incarnation_ = 0;
  bool left_ = false;
  std::chrono::milliseconds silence_{
      0};                    ///< since the last beat, as far as this process could have heard one
  std::uint64_t heard_ = 0;  ///< messages received at the last look
  kj::Own<kj::PromiseFulfiller<std::string>> closing_;
  kj::Maybe<schema::Node::Client> peer_;
  std::unique_ptr<remote_requests> requests_;
  std::unique_ptr<kj::TaskSet> calls_;  // none once it has left
  kj::Own<connection> rpc_;             // first to go: what it drops may touch the rest
};

}  // namespace collm::link
