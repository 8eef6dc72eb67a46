// The three faces of link/: link_server (head), link_client (node), native_server (a gateway's
// Cap'n Proto port). Each lives on link::loop and speaks to actors by messages only.
//
// Order of destruction: server, client, native_server; then loop; then the actors' system. Each
// destructor ends its connections on the loop thread, answers what it owes (unavailable, or finish
// reason error) and drops its actor handles.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "actors/interfaces.hpp"
#include "gateway/nodes_port.hpp"
#include "gateway/port.hpp"
#include "gateway/prompt.hpp"
#include "link/authority.hpp"
#include "link/certificates.hpp"
#include "link/loop.hpp"
#include "messages/limits.hpp"
#include "messages/result.hpp"

namespace collm::link {

/// Version of messages/link.capnp that this build speaks; a head also takes the one before. It
/// rises when what was there changes its meaning. A method that is added does not change it: a head
/// that lacks it is answered for, `unavailable`.
inline constexpr std::uint32_t protocol_current = 1;

/// Where link/ tells what happened; called on the loop thread, must not block. May be empty.
using log_function = std::function<void(schema::EventLevel, const std::string&)>;

// -- head

/// How nodes that the head does not start come in.
struct enrolment_terms {
  std::string listen;  ///< of its own port; empty: nobody joins with a token
  std::string host;    ///< name or address under which nodes elsewhere reach both ports
  /// What a node is to run.
  std::function<result<std::string>(const std::string& node)> manifest;
  std::chrono::milliseconds refusal_delay{1000};
};

/// What the manifest says of a node that may join.
struct linked_node {
  std::string site;
  std::uint32_t replicas = 1;
  std::set<std::string> tenants = {};  ///< whose jobs it may bring, if it runs elsewhere
};

struct server_options {
  std::string listen;  ///< "127.0.0.1:8099"; port 0: any free one
  std::string cluster;
  tls_files tls;
  std::shared_ptr<authority> members;  ///< whose certificates are accepted
  enrolment_terms enrolment;
  std::map<std::string, linked_node> nodes;  ///< by name; nobody else joins
  std::string base_digest;                   ///< a node with another is refused by name
  std::string tokenizer_digest;
  std::uint32_t protocol = protocol_current;
  std::chrono::milliseconds beat{1000};
  std::chrono::milliseconds lost_after{3000};
  std::chrono::milliseconds accept_timeout{3000};  ///< TLS handshake
  std::chrono::milliseconds unread_for_max{
      30000};  ///< a node that does not read what it is told for so long is closed
  std::chrono::milliseconds refusals_told_each{
      10000};  ///< peers that never joined: one line for all
  limits bounds;
  log_function log;
};

struct server_actors {
  actors::supervisor_actor supervisor;
  actors::registry_actor registry;
  actors::telemetry_actor telemetry;  ///< the hub: nodes' events go there
  std::map<std::string, actors::aggregator_actor> aggregators{};  ///< by adapter
  actors::coordinator_actor coordinator{};                        ///< none: jobs are `unavailable`
};

/// The head's end. For each node that joins it spawns a router_actor and a node_actor that speak
/// over the link, and sends join, beat and leave to the supervisor. When the connection ends, these
/// two answer `unavailable` until nobody holds them.
class link_server final : public gateway::nodes_port {
 public:
  /// Listens; refuses with the address or certificate file that is at fault.
  static result<std::unique_ptr<link_server>> start(loop& on, caf::actor_system& system,
                                                    server_options options, server_actors to);
  ~link_server() override;
  std::uint16_t port() const;
  std::uint16_t enrolment_port() const;  ///< 0: there is none
  /// Ends a node's connection at once, as if it were lost. Any thread.
  void disconnect(const std::string& node, const std::string& reason);

  void join_token(std::string node, std::uint32_t lives_s, reply<std::string> to) override;
  void revoke(std::string node, reply<void> to) override;
  void rotate(std::string node, reply<void> to) override;

 private:
  struct impl;
  struct listening {
    std::uint16_t link = 0, enrolment = 0;
  };
  link_server(loop& on, impl* state, listening ports) : loop_(on), impl_(state), ports_(ports) {}
  loop& loop_;
  impl* impl_;  // lives and dies on the loop thread
  const listening ports_;
};

// -- node

enum class link_state : std::uint8_t { connected, lost };

struct client_options {
  std::string head;     ///< "127.0.0.1:8099"
  std::string cluster;  ///< the head's certificate must be for "head.<cluster>"
  tls_files tls;
  msg<schema::Hello> hello;                         ///< protocol included
  std::chrono::milliseconds connect_timeout{5000};  ///< TCP, TLS and join together
  std::chrono::milliseconds back_off_min{100};      ///< doubles with each failure
  std::chrono::milliseconds back_off_max{2000};
  limits bounds;
  log_function log;
  std::function<void(link_state, const std::string& reason)>
      on_state;  ///< loop thread; every change once
};

struct client_actors {
  actors::router_actor router;
  actors::node_actor node;
  actors::telemetry_actor telemetry;
};

/// A node's end: keeps one connection to the head, serves the Node capability with this process's
/// actors.
class link_client {
 public:
  /// Reads the certificates; does not connect yet, so that registry() can be handed to the actors
  /// that serve() needs.
  static result<std::unique_ptr<link_client>> create(loop& on, caf::actor_system& system,
                                                     client_options options);
  ~link_client();
  /// The head's registry; `unavailable` while the link is down. Promote and rollback are not a
  /// node's to ask.
  actors::registry_actor registry() const;
  /// The head's aggregators, by the adapter that a message names; `unavailable` while the link is
  /// down or the head is too old, `overloaded` while 32 calls wait. Rounds go on when it is back.
  actors::aggregator_actor aggregator() const;
  /// The head's coordinator, for jobs; the same.
  actors::coordinator_actor coordinator() const;
  /// Connects, and again after each loss. Once.
  void serve(client_actors actors);
  /// Passes an event on to the head; dropped while the link is down or 64 are unanswered. Any
  /// thread.
  void report(msg<schema::Event> event);
  bool connected() const { return connected_->load(); }
  /// Requests of the head that are not answered yet. Any thread.
  std::uint32_t requests_open() const { return requests_open_->load(); }
  /// Before the end of a node whose actors take no more requests: waits until the head has the
  /// answers to all that it sent. False: not before `at_most`, or the link is down. Not from an
  /// actor.
  bool settle(std::chrono::milliseconds at_most);

 private:
  struct impl;
  /// The head's actors as this process sees them.
  struct stand_ins {
    actors::registry_actor registry;
    actors::aggregator_actor aggregator;
    actors::coordinator_actor coordinator;
  };
  link_client(loop& on, std::shared_ptr<impl> state, std::shared_ptr<std::atomic<bool>> connected,
              std::shared_ptr<std::atomic<std::uint32_t>> requests_open, stand_ins head)
      : loop_(on),
        impl_(std::move(state)),
        connected_(std::move(connected)),
        requests_open_(std::move(requests_open)),
        head_(std::move(head)) {}
  loop& loop_;
  std::shared_ptr<impl> impl_;  // lives and dies on the loop thread
  std::shared_ptr<std::atomic<bool>> connected_;
  std::shared_ptr<std::atomic<std::uint32_t>> requests_open_;
  const stand_ins head_;
};

// -- native port

/// prompt_encoder::encode with its encoder bound; called on the loop thread.
using encode_function = std::function<result<gateway::prompt_encoder::encoded>(
    const gateway::prompt_encoder::input&, std::uint32_t max_tokens, std::uint32_t fallback)>;

struct native_options {
  std::string listen;  ///< "127.0.0.1:8090"; port 0: any free one; refused beyond loopback
  encode_function encode;
  limits bounds;  ///< connections_max, rpc_streams_max, frame_bytes_max, nesting_max, and those of
                  ///< a request
  std::chrono::milliseconds first_message_timeout{
      30000};  ///< a connection that says nothing is closed
  /// One that says nothing more, too, unless an answer to it is being made: for this long after
  /// what it said last, up to twice as long after such an answer.
  std::chrono::milliseconds idle_timeout{60000};
  std::chrono::milliseconds unread_for_max{
      30000};  ///< one that does not read its answers for so long, too
  log_function log;
};

/// Serves schema::Gateway to clients such as pycapnp.
class native_server {
 public:
  static result<std::unique_ptr<native_server>> start(loop& on, native_options options,
                                                      std::shared_ptr<gateway::port> port);
  ~native_server();
  std::uint16_t port() const;
  std::uint32_t connections() const;  ///< open now. Any thread.
  /// Waits until every client has its answers, for a process that stops; false: not within
  /// `at_most`. Not on the loop's thread.
  bool settle(std::chrono::milliseconds at_most);

 private:
  struct impl;
  native_server(loop& on, impl* state, std::uint16_t port,
                std::shared_ptr<std::atomic<std::uint32_t>> connections)
      : loop_(on), impl_(state), port_(port), connections_(std::move(connections)) {}
  loop& loop_;
  impl* impl_;  // lives and dies on the loop thread
  std::uint16_t port_;
  std::shared_ptr<std::atomic<std::uint32_t>> connections_;
};

}  // namespace collm::link
