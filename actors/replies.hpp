// The small messages that several actors answer with.
#pragma once

#include <string>

#include "actors/interfaces.hpp"
#include "coordinator/following.hpp"

namespace collm::actors {

inline msg<schema::Reject> reject_message(request_id id, const error& why) {
  return msg<schema::Reject>::build([&](schema::Reject::Builder b) {
    b.setRequest(id);
    b.setCode(std::string(to_string(why.code)));
    b.setMessage(why.message);
    b.setRetryAfterMs(why.retry_after_ms);
  });
}

inline msg<schema::Finish> finish_message(request_id id, schema::FinishReason reason,
                                          const std::string& message) {
  return msg<schema::Finish>::build([&](schema::Finish::Builder b) {
    b.setRequest(id);
    b.setReason(reason);
    b.setMessage(message);
  });
}

inline msg<schema::Event> event_message(schema::EventLevel level, const std::string& node,
                                        const std::string& kind, const std::string& text) {
  return msg<schema::Event>::build([&](schema::Event::Builder b) {
    b.setLevel(level);
    b.setNode(node);
    b.setKind(kind);
    b.setMessage(text);
  });
}

/// A list as coordinator::follow takes it.
std::vector<coordinator::known_version> registered_versions(
    const schema::VersionList::Reader& list);

/// The error that a Reject carries.
error error_of(const schema::Reject::Reader& r);

}  // namespace collm::actors
