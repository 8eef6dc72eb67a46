// What an engine reads from a request and says to its sink: between the wire and the executor.
#pragma once

#include <string>

#include "actors/engine.hpp"

namespace collm::actors {

engine::sequence_spec spec_of(const schema::Request::Reader& r, const version_id& version);

/// `digest`: of the version's factors; empty for the base.
msg<schema::Accepted> accepted_message(const engine_state::running_request& run,
                                       const std::string& digest, const std::string& replica);
/// The next chunk of `run`, whose sequence number rises.
msg<schema::TokenChunk> chunk_message(const engine::emission& e, engine_state::running_request& run,
                                      std::uint16_t choice);
msg<schema::Finish> finish_message(const engine_state::running_request& run,
                                   schema::FinishReason reason, const std::string& message,
                                   double now_ms);

}  // namespace collm::actors
