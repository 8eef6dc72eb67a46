// Training over all sites as a gateway sees it: jobs, everywhere; rounds, versions and their
// reasons, on the head (elsewhere `forbidden`, by name). Calls return at once, from any thread;
// callbacks come on a thread of the implementation.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "messages/adaptation.capnp.h"
#include "messages/federation.capnp.h"
#include "messages/ids.hpp"
#include "messages/msg.hpp"
#include "messages/registry.capnp.h"
#include "messages/result.hpp"

namespace collm::gateway {

/// A job that somebody asks for.
struct job_order {
  std::string adapter, training_file, suffix;
  std::uint32_t rounds = 0;  ///< 0: until nothing is gained any more
  std::string owner;         ///< the asking tenant; empty: whoever operates the cluster
};

class federation_port {
 public:
  template <class T>
  using reply = std::function<void(result<T>)>;

  virtual ~federation_port() = default;

  // -- jobs
  /// Its site is filled in by the implementation.
  virtual void create_job(job_order order, reply<msg<schema::Job>> to) = 0;
  virtual void jobs(reply<msg<schema::JobList>> to) = 0;
  virtual void cancel_job(std::string id, reply<msg<schema::Job>> to) = 0;

  // -- head
  /// Rounds of one adapter, or of all where it is empty; oldest first within an adapter.
  virtual void rounds(std::string adapter, reply<msg<schema::RoundList>> to) = 0;
  /// Adapter empty: the only one; number 0: the version that serves.
  virtual void explain(version_id version, reply<msg<schema::Explanation>> to) = 0;
  virtual void replay(std::string adapter, std::uint32_t round, std::string without,
                      reply<msg<schema::Replay>> to) = 0;
  virtual void close_round(std::string adapter, std::string who, reply<void> to) = 0;
  virtual void rollback(std::string adapter, reply<msg<schema::VersionRecord>> to) = 0;
  /// A part of the factors of a version, as messages/adaptation.capnp orders them.
  virtual void factors(version_id version, std::uint64_t at, std::uint32_t count,
                       reply<msg<schema::FactorsChunk>> to) = 0;
};

}  // namespace collm::gateway
