// The link's TLS: mutual, this cluster's own authority only. Loop thread.
#pragma once

#include <kj/compat/tls.h>
#include <kj/memory.h>
#include <kj/timer.h>

#include <chrono>

#include "link/certificates.hpp"

namespace collm::link {

/// Reads the files; refuses with the one that is at fault. `handshake_max`: after it a peer that
/// says nothing is dropped.
result<kj::Own<kj::TlsContext>> make_tls(const tls_files& files, kj::Timer& timer,
                                         std::chrono::milliseconds handshake_max);

/// The same without certificates of clients: the head shows its own with the authority's behind it.
result<kj::Own<kj::TlsContext>> make_open_tls(const tls_files& files, kj::Timer& timer,
                                              std::chrono::milliseconds handshake_max);

inline kj::Duration to_kj(std::chrono::milliseconds time) {
  return time.count() * kj::MILLISECONDS;
}

}  // namespace collm::link
