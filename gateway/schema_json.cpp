#include "gateway/schema_json.hpp"

#include <capnp/compat/json.h>

#include <string_view>

#include "text/utf8.hpp"

namespace collm::gateway {
namespace {

/// A node's texts are its own, and JSON is UTF-8.
template <class Reader>
std::string encoded(Reader value) {
  const capnp::JsonCodec codec;
  const kj::String json = codec.encode(value);
  const std::string_view all(json.cStr(), json.size());
  return text::utf8_valid(all) ? std::string(all) : text::utf8_mended(all);
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
