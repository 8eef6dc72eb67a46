// Any bytes through the carrier: they are refused, or every field of them can be read under the
// guard. With clang, -fsanitize=fuzzer finds inputs; tests/unit/messages_fuzz_test.cpp runs a fixed
// number of mutations.
#include "tests/fuzz/message_fuzz.hpp"

#include "messages/adaptation.capnp.h"
#include "messages/assert.hpp"
#include "messages/cluster.capnp.h"
#include "messages/enrolment.capnp.h"
#include "messages/events.capnp.h"
#include "messages/federation.capnp.h"
#include "messages/inference.capnp.h"
#include "messages/link.capnp.h"
#include "messages/registry.capnp.h"

namespace collm::fuzz {
namespace {

std::uint64_t walk_value(capnp::DynamicValue::Reader value) {
  switch (value.getType()) {
    case capnp::DynamicValue::STRUCT:
      return walk(value.as<capnp::DynamicStruct>());
    case capnp::DynamicValue::LIST: {
      std::uint64_t count = 1;
      for (auto element : value.as<capnp::DynamicList>()) count += walk_value(element);
      return count;
    }
    case capnp::DynamicValue::TEXT:
      return 1 + value.as<capnp::Text>().size();
    default:
      return 1;
  }
}

template <class T>
std::string sample(unsigned variant) {
  const auto m =
      msg<T>::build([&](typename T::Builder to) { fill(capnp::toDynamic(to), variant); });
  const auto bytes = m.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <class T>
result<std::string> read(std::span<const std::byte> bytes) {
  auto m = msg<T>::from_bytes(bytes);
  if (!m) return m.failure();
  return guard([&] {
    auto view = m->read();
    const auto values = walk(capnp::toDynamic(*view));
    return std::string(kj::str(*view, " (", values, " values)").cStr());
  });
}

template <class T>
kind make_kind(const char* name) {
  return {name, &sample<T>, &read<T>};
}

}  // namespace

std::uint64_t walk(capnp::DynamicStruct::Reader from) {
  std::uint64_t count = 1;
  for (auto field : from.getSchema().getNonUnionFields()) count += walk_value(from.get(field));
  KJ_IF_MAYBE (member, from.which()) count += walk_value(from.get(*member));
  return count;
}

const std::vector<kind>& kinds() {
  using namespace schema;
  static const std::vector<kind> all = {
      make_kind<Request>("Request"),
      make_kind<Accepted>("Accepted"),
      make_kind<TokenChunk>("TokenChunk"),
      make_kind<Finish>("Finish"),
      make_kind<Reject>("Reject"),
      make_kind<TextRequest>("TextRequest"),
      make_kind<VersionRecord>("VersionRecord"),
      make_kind<Register>("Register"),
      make_kind<VersionList>("VersionList"),
      make_kind<Hello>("Hello"),
      make_kind<Welcome>("Welcome"),
      make_kind<ActorStatus>("ActorStatus"),
      make_kind<Snapshot>("Snapshot"),
      make_kind<ClusterStatus>("ClusterStatus"),
      make_kind<Event>("Event"),
      make_kind<ModelInfo>("ModelInfo"),
      make_kind<GenerateResult>("GenerateResult"),
      make_kind<LoadResult>("LoadResult"),
      make_kind<ShadowState>("ShadowState"),
      make_kind<Work>("Work"),
      make_kind<UpdateChunk>("UpdateChunk"),
      make_kind<UploadPlace>("UploadPlace"),
      make_kind<Scores>("Scores"),
      make_kind<FactorsWanted>("FactorsWanted"),
      make_kind<FactorsChunk>("FactorsChunk"),
      make_kind<RoundList>("RoundList"),
      make_kind<Explanation>("Explanation"),
      make_kind<Replay>("Replay"),
      make_kind<JobRequest>("JobRequest"),
      make_kind<JobList>("JobList"),
      make_kind<Enrol>("Enrol"),
      make_kind<Enrolled>("Enrolled"),
      make_kind<RenewResult>("RenewResult"),
  };
  return all;
}

}  // namespace collm::fuzz

// The first byte picks the kind; the rest is what came from outside.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto& all = collm::fuzz::kinds();
  const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
  const auto outcome = all[data[0] % all.size()].read(bytes);
  COLLM_ASSERT(outcome || !outcome.failure().message.empty());
  return 0;
}
