#include "gateway/schema_json.hpp"

#include <capnp/compat/json.h>

namespace collm::gateway {
namespace {

template <class Reader>
std::string encoded(Reader value) {
  const capnp::JsonCodec codec;
  const kj::String text = codec.encode(value);
  return {text.cStr(), text.size()};
}

}  // namespace

std::string to_json(schema::ClusterStatus::Reader value) { return encoded(value); }
std::string to_json(schema::Event::Reader value) { return encoded(value); }
std::string to_json(schema::VersionRecord::Reader value) { return encoded(value); }
std::string to_json(schema::Job::Reader value) { return encoded(value); }
std::string to_json(schema::JobList::Reader value) { return encoded(value); }
std::string to_json(schema::RoundList::Reader value) { return encoded(value); }
std::string to_json(schema::Explanation::Reader value) { return encoded(value); }
std::string to_json(schema::Replay::Reader value) { return encoded(value); }

}  // namespace collm::gateway
