// Schema types as JSON: the one place, Cap'n Proto's own mapping (64-bit integers are strings,
// enums names, one line). Pointers that were never set are left out.
#pragma once

#include <string>

#include "messages/events.capnp.h"
#include "messages/federation.capnp.h"
#include "messages/registry.capnp.h"

namespace collm::gateway {

std::string to_json(schema::ClusterStatus::Reader value);
std::string to_json(schema::Event::Reader value);
std::string to_json(schema::VersionRecord::Reader value);
std::string to_json(schema::Job::Reader value);
std::string to_json(schema::JobList::Reader value);
std::string to_json(schema::RoundList::Reader value);
std::string to_json(schema::Explanation::Reader value);
std::string to_json(schema::Replay::Reader value);

}  // namespace collm::gateway
