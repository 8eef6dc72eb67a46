// The node's end of messages/enrolment.capnp: a join token becomes a certificate. Blocking; the
// main thread of a node, before anything else runs.
#pragma once

#include <openssl/types.h>

#include <chrono>
#include <filesystem>
#include <string>

#include "link/join_tokens.hpp"
#include "messages/enrolment.capnp.h"
#include "messages/result.hpp"

namespace collm::link {

/// What the head said of the node that it took in.
struct enrolment {
  std::string cluster, node, site;
  std::string link;      ///< where the node finds its head: "10.0.0.5:8099"
  std::string manifest;  ///< what the node runs
};

/// Makes a key, which stays here, and has the head sign its certificate; both lie in `folder`
/// (0700) when it returns, with the authority's. Trusts only the authority that the token names,
/// and says nothing to anybody else. Refuses with what the head says, or why it was not believed.
result<enrolment> enrol(const join_token& token, const std::filesystem::path& folder,
                        std::chrono::seconds at_most = std::chrono::seconds(10));

/// What a head's answer gave is for `key`, for the token's node and of the authority that the token
/// names; nothing else of it is looked at. corrupt, and what it is instead.
result<void> check_member(const join_token& token, schema::Member::Reader member, EVP_PKEY* key);

}  // namespace collm::link
