// Outcomes on the wire: an RPC exception's text is "code: message; retry after N ms"; LoadResult is
// a result<VersionRecord>, and so the others with their values. Pure; any thread.
#pragma once

#include <kj/exception.h>

#include "messages/inference.capnp.h"
#include "messages/link.capnp.h"
#include "messages/msg.hpp"
#include "messages/result.hpp"

namespace collm::link {

std::string to_text(const error& e);
kj::Exception to_exception(const error& e);

/// What a peer's exception says, or what its loss means (unavailable). A text without a code of
/// ours becomes `unknown`.
error from_exception(const kj::Exception& e, errc unknown = errc::internal);

/// The code of that name; `internal` for a name that this build does not know.
errc code_named(std::string_view name);

msg<schema::Reject> make_reject(std::uint64_t request, const error& e);
/// Ends a request that was accepted and then broken off.
msg<schema::Finish> make_finish(std::uint64_t request, schema::FinishReason reason,
                                const std::string& message);

void fill(schema::LoadResult::Builder to, const result<msg<schema::VersionRecord>>& outcome);
result<msg<schema::VersionRecord>> from_wire(schema::LoadResult::Reader from);

void fill(schema::Outcome::Builder to, const result<void>& outcome);
void fill(schema::WorkResult::Builder to, const result<msg<schema::Work>>& outcome);
void fill(schema::UploadResult::Builder to, const result<msg<schema::UploadPlace>>& outcome);
void fill(schema::FactorsResult::Builder to, const result<msg<schema::FactorsChunk>>& outcome);
void fill(schema::JobResult::Builder to, const result<msg<schema::Job>>& outcome);
void fill(schema::JobListResult::Builder to, const result<msg<schema::JobList>>& outcome);

/// PEM.
void fill(schema::RenewResult::Builder to, const result<std::string>& certificate);
result<std::string> from_wire(schema::RenewResult::Reader from);

result<void> from_wire(schema::Outcome::Reader from);
result<msg<schema::Work>> from_wire(schema::WorkResult::Reader from);
result<msg<schema::UploadPlace>> from_wire(schema::UploadResult::Reader from);
result<msg<schema::FactorsChunk>> from_wire(schema::FactorsResult::Reader from);
result<msg<schema::Job>> from_wire(schema::JobResult::Reader from);
result<msg<schema::JobList>> from_wire(schema::JobListResult::Reader from);

}  // namespace collm::link
