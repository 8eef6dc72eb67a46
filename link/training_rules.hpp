// What a node may say at its head, of training above all: for its own replicas and its own site
// only, in lists and chunks of bounded size. The head asks these before an actor hears of it. Pure;
// any thread.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "messages/adaptation.capnp.h"
#include "messages/events.capnp.h"
#include "messages/federation.capnp.h"
#include "messages/limits.hpp"
#include "messages/msg.hpp"
#include "messages/registry.capnp.h"
#include "messages/result.hpp"

namespace collm::link {

inline constexpr std::uint32_t training_calls_max = 32;   ///< unanswered, one node
inline constexpr std::uint32_t training_list_max = 4096;  ///< ranks, differences of one message
inline constexpr std::size_t training_text_max = 4096;    ///< one name, digest or reason, bytes
inline constexpr std::uint32_t snapshot_list_max = 1024;  ///< each list of a snapshot
inline constexpr std::size_t snapshot_text_max = 256;     ///< each text of it, bytes

/// Whom a session speaks for, by its certificate and the manifest.
struct speaker {
  std::string node;
  std::string site;
  bool elsewhere = false;  ///< a node that the head did not start: what it says counts for its own
                           ///< site only
  std::uint32_t replicas = 1;          ///< "edge-c/0" and so on: whose updates and scores it brings
  std::set<std::string> tenants = {};  ///< of its site: whose jobs it brings, if it runs elsewhere
};

/// Each: forbidden if it speaks for another, bad_request or too_large beyond the bounds.
result<void> check(const speaker& by, schema::ShadowState::Reader state);
result<void> check(const speaker& by, schema::UpdateChunk::Reader chunk, const limits& bounds);
result<void> check(const speaker& by, schema::Scores::Reader scores);
result<void> check(schema::FactorsWanted::Reader wanted, const limits& bounds);
result<void> check(const speaker& by, schema::JobRequest::Reader request);
result<void> check_job_id(capnp::Text::Reader id);
/// What it may know of the jobs: all, or those of its own site.
msg<schema::JobList> visible_to(const speaker& by, const msg<schema::JobList>& all);
/// not_found: it knows of no such job.
result<void> check_cancel(const speaker& by, const msg<schema::JobList>& all,
                          const std::string& id);
result<void> check(const speaker& by, schema::Register::Reader what);
result<void> check(const speaker& by, schema::Snapshot::Reader snapshot);
/// Whether it may take a version out of the whole cluster.
result<void> check_retire(const speaker& by);

/// Bytes of a chunk with its header, lists and the RPC around it, also once copied.
std::size_t chunk_message_max(const limits& bounds);
/// What one RPC message may be so that a whole chunk travels in it.
limits with_chunks(const limits& bounds);

}  // namespace collm::link
