// The head's end of one node's connection: join and its checks, the session, the calls that the
// node's proxies make. Loop thread; its proxies reach it by way_to_node.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "link/connection.hpp"
#include "link/link.hpp"
#include "link/pace.hpp"
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
  /// What a node may do seldom only, over all its connections.
  struct account {
    pace creates{8, 8.0 / 3600.0};  ///< jobs: each costs all sites their idle time
    pace renews{4, 4.0 / 3600.0};   ///< certificates: each is signed and written
  };
  std::map<std::string, account> accounts;
  /// Makes way for a node that joins again: ends the connection that it had.
  std::function<void(const std::string& node, const std::string& reason)> replace;
};

class head_connection final : public node_calls,
                              public std::enable_shared_from_this<head_connection>,
                              private kj::TaskSet::ErrorHandler {
 public:
  /// `common_name`: of the peer's certificate, which this cluster's authority made.
  head_connection(head_context& shared, const std::string& common_name);
  ~head_connection() noexcept override;

  /// Takes the stream over; the promise is done, with the reason, when the connection has ended.
  kj::Promise<std::string> serve(kj::Own<kj::AsyncIoStream> stream);
  /// Ends it from our side.
  void close(const std::string& reason);
  /// After the end: answers what is owed, tells the supervisor.
  void leave(const std::string& reason);

  const std::string& node() const { return node_; }  ///< empty before it joined
  bool is_joined() const { return !node_.empty() && !left_; }
  const std::string& common_name() const { return shown_.name; }

  // -- what the peer calls
  result<void> join(schema::Hello::Reader hello, schema::Node::Client node);
  void beat(schema::Snapshot::Reader snapshot);
  void event(schema::Event::Reader event);
  head_context& shared() { return shared_; }
  /// Whose word this session is, by the certificate and the manifest; join has checked them.
  const speaker& speaks_for() const { return speaker_; }
  /// Refuses a node that asks faster than any of ours does.
  void keep_pace();
  /// Whether it may make a call about training now; each is one.
  bool keeps_training_pace();
  /// Time of the loop, s.
  double now_s() const;
  /// Calls about training that wait for an actor; outlives this connection.
  std::shared_ptr<std::uint32_t> training_calls() const { return training_calls_; }

  /// Has the node make itself a new key and certificate.
  void rotate(std::function<void(result<void>)> reply);

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
  result<void> may_join(schema::Hello::Reader hello) const;
  result<void> not_ahead(std::uint64_t incarnation, const std::string& name) const;
  kj::Promise<std::string> watch();
  void keep(kj::Promise<void> call);
  void taskFailed(kj::Exception&& e) override;

  head_context& shared_;
  const shown_name shown_;  // of its certificate
  std::string node_;
  speaker speaker_;
  const std::shared_ptr<std::uint32_t> training_calls_ = std::make_shared<std::uint32_t>(0);
  std::uint64_t incarnation_ = 0;
  std::uint32_t unanswered_ = 0;
  pace calls_pace_{256, 64}, events_pace_{128, 16};
  pace training_pace_{512, 256};  // as many chunks of 1 MiB
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
