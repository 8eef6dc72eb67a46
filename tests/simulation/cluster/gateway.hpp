// A process's gateway and the clients at it: each request is a production bridge, and an account
// of all that its client saw, checked as it comes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "actors/bridge.hpp"
#include "tests/simulation/cluster/world.hpp"

namespace collm::simulation {

/// A request as a plan has it.
struct wanted_request {
  std::string model;
  std::uint32_t prompt = 4, max_tokens = 8, choices = 1;
  std::uint64_t seed = 0;
  milliseconds cancel_after{0};  ///< 0: never
  milliseconds reads_every{0};   ///< a chunk; 0: as they come
  bool interactive = true;
};

enum class ending { open, answered, cut_off, cancelled, refused, failed, lost };
std::string_view to_string(ending e);

/// What one client asked and saw.
struct account {
  std::uint64_t serial = 0;  ///< over all gateways
  request_id id = 0;         ///< at its gateway; repeats elsewhere
  wanted_request asked;
  std::string site;
  ending how = ending::open;
  std::string reason;
  bool accepted = false;
  std::string adapter, digest, replica;
  std::uint32_t version = 0, next_seq = 0;
  std::vector<std::uint32_t> tokens;  ///< so far, by choice
  std::uint32_t ended_calls = 0;
  std::string text() const;
};
using account_ptr = std::shared_ptr<account>;

struct gateway_ends {
  actors::router_actor router;
  actors::telemetry_actor telemetry;
  actors::meter_ptr bridges;
  std::string node;                          ///< whose it is; empty: the head's
  std::map<std::string, std::string> sites;  ///< of nodes; the head's alone
};

/// One name@number is one digest, in all that anybody was ever told.
class known_versions {
 public:
  /// False: it is known with another digest, which `other` then names.
  bool note(const version_id& id, const std::string& digest, std::string& other);

 private:
  std::map<version_id, std::string> digests_;
};

class sim_gateway {
 public:
  sim_gateway(world& in, process_ptr proc, gateway_ends ends);

  account_ptr send(const wanted_request& asked, const std::string& site, std::uint64_t serial);
  /// The process is gone: its clients see their connections end.
  void lose();
  std::uint32_t in_flight() const { return in_flight_; }
  const std::map<request_id, account_ptr>& accounts() const { return accounts_; }
  /// Bridges that may live, for checkers.
  const std::map<request_id, actors::bridge_actor>& bridges() const { return bridges_; }
  const actors::meter_ptr& counts() const { return ends_.bridges; }

  std::shared_ptr<known_versions> known = std::make_shared<known_versions>();
  static constexpr std::uint32_t credit = 16, unsent_tokens_max = 64;

 private:
  actors::stream_calls calls_of(const account_ptr& a);
  void accepted(account& a, const schema::Accepted::Reader& m);
  void chunk(account& a, const schema::TokenChunk::Reader& m);
  void finish(account& a, const schema::Finish::Reader& m);
  void reject(account& a, const schema::Reject::Reader& m);
  void end(account& a, ending how, const std::string& reason);
  void read_on(const account_ptr& a, const actors::bridge_actor& bridge);
  void breach(const account& a, const char* law, const std::string& how);

  world& in_;
  process_ptr proc_;
  gateway_ends ends_;
  request_id next_ = 1;
  std::uint32_t in_flight_ = 0;
  std::map<request_id, account_ptr> accounts_;
  std::map<request_id, actors::bridge_actor> bridges_;
};

/// Tokens of the prompt that a request's seed stands for.
std::vector<std::int32_t> prompt_of(const wanted_request& r);

}  // namespace collm::simulation
