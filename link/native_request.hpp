// From what a Cap'n Proto client sends (text) to what the actors serve (tokens): every field
// checked, as the HTTP gateway does.
#pragma once

#include "link/link.hpp"

namespace collm::link {

/// Refuses with the field's name and what would be right. `id`: of the gateway that will end it.
result<msg<schema::Request>> to_request(schema::TextRequest::Reader from, request_id id,
                                        const encode_function& encode, const limits& bounds);

}  // namespace collm::link
