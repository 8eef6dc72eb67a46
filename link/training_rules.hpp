// What a node may say at its head, of training above all: for its own replicas and its own site
// only, in lists and chunks of bounded size. The head asks these before an actor hears of it. Pure;
// any thread.
#pragma once

#include <cstdint>
#include <string>

#include "messages/adaptation.capnp.h"
#include "messages/events.capnp.h"
#include "messages/federation.capnp.h"
#include "messages/limits.hpp"
#include "messages/registry.capnp.h"
#include "messages/result.hpp"

namespace collm::link {

inline constexpr std::uint32_t training_calls_max = 32;   ///< unanswered, one node
inline constexpr std::uint32_t training_list_max = 4096;  ///< ranks, differences of one message
inline constexpr std::size_t training_text_max = 4096;    ///< one name, digest or reason, bytes

/// Whom a session speaks for, by its certificate and the manifest.
struct speaker {
  std::string node;
  std::string site;
  bool elsewhere = false;  ///< a node that the head did not start: what it says counts for its own
                           ///< site only
};

/// Each: forbidden if it speaks for another, bad_request or too_large beyond the bounds.
result<void> check(const speaker& by, schema::ShadowState::Reader state);
result<void> check(const speaker& by, schema::UpdateChunk::Reader chunk, const limits& bounds);
result<void> check(const speaker& by, schema::Scores::Reader scores);
result<void> check(schema::FactorsWanted::Reader wanted, const limits& bounds);
result<void> check(const speaker& by, schema::JobRequest::Reader request);
result<void> check_job_id(capnp::Text::Reader id);
result<void> check(const speaker& by, schema::Register::Reader what);
result<void> check(const speaker& by, schema::Snapshot::Reader snapshot);
/// Whether it may take a version out of the whole cluster.
result<void> check_retire(const speaker& by);

/// What one RPC message may be so that a whole chunk travels in it.
limits with_chunks(const limits& bounds);

}  // namespace collm::link
