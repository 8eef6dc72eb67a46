// What a joined node may do at its head: the Session capability, carried out by the head's actors.
// Loop thread.
#pragma once

#include <memory>

#include "messages/link.capnp.h"
#include "messages/result.hpp"

namespace collm::link {

class head_connection;

/// Throws what `why` says as an RPC exception.
[[noreturn]] void refuse(const error& why);
/// The connection, or an exception: the session is over.
std::shared_ptr<head_connection> alive(const std::weak_ptr<head_connection>& to);

/// One a connection; `unavailable` once that has ended.
schema::Session::Client make_session(std::weak_ptr<head_connection> to);

}  // namespace collm::link
