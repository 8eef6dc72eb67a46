#include "link/training_rules.hpp"

#include <algorithm>
#include <initializer_list>

namespace collm::link {
namespace {

constexpr std::size_t envelope_bytes = 128u << 10;  // header, lists and RPC around a chunk

result<void> own_client(const speaker& by, capnp::Text::Reader client) {
  const std::string name = client.cStr();
  if (name.starts_with(by.node + "/")) return {};
  return error{errc::forbidden, "node " + by.node + " cannot speak for \"" + name.substr(0, 256) +
                                    "\"; its replicas are \"" + by.node + "/0\" and so on"};
}

result<void> own_site(const speaker& by, capnp::Text::Reader site) {
  if (by.site == site.cStr()) return {};
  return error{errc::forbidden, "node " + by.node + " is of site \"" + by.site +
                                    "\" and cannot speak for \"" +
                                    std::string(site.cStr()).substr(0, 256) + "\""};
}

struct named_text {
  const char* name;
  capnp::Text::Reader text;
};

result<void> short_texts(std::initializer_list<named_text> texts) {
  for (const auto& [name, text] : texts) {
    if (text.size() <= training_text_max) continue;
    return error{errc::too_large, std::string(name) + " has " + std::to_string(text.size()) +
                                      " bytes; at most " + std::to_string(training_text_max) +
                                      " are accepted"};
  }
  return {};
}

result<void> short_list(const char* name, std::uint32_t size) {
  if (size <= training_list_max) return {};
  return error{errc::too_large, std::string(name) + " has " + std::to_string(size) +
                                    " entries; at most " + std::to_string(training_list_max) +
                                    " are accepted"};
}

result<void> one_chunk(const char* name, std::uint64_t bytes, const limits& bounds) {
  if (bytes <= bounds.chunk_bytes_max) return {};
  return error{errc::too_large, std::string(name) + " is " + std::to_string(bytes) +
                                    " bytes; a chunk has at most " +
                                    std::to_string(bounds.chunk_bytes_max)};
}

/// The first that failed.
result<void> all(std::initializer_list<result<void>> checks) {
  for (const auto& one : checks) {
    if (!one) return one;
  }
  return {};
}

}  // namespace

result<void> check(const speaker& by, schema::ShadowState::Reader state) {
  return all({short_texts({{"replica", state.getReplica()},
                           {"site", state.getSite()},
                           {"adapter", state.getAdapter()},
                           {"declined", state.getDeclined()}}),
              own_client(by, state.getReplica()), own_site(by, state.getSite())});
}

result<void> check(const speaker& by, schema::UpdateChunk::Reader chunk, const limits& bounds) {
  const auto header = chunk.getHeader();
  return all({short_texts({{"client", header.getClient()},
                           {"adapter", header.getAdapter()},
                           {"baseDigest", header.getBaseDigest()},
                           {"parentDigest", header.getParentDigest()},
                           {"digest", header.getDigest()}}),
              own_client(by, header.getClient()), short_list("ranks", header.getRanks().size()),
              one_chunk("data", chunk.getData().size(), bounds)});
}

result<void> check(const speaker& by, schema::Scores::Reader scores) {
  return all({short_texts({{"replica", scores.getReplica()},
                           {"site", scores.getSite()},
                           {"adapter", scores.getAdapter()},
                           {"failure", scores.getFailure()}}),
              own_client(by, scores.getReplica()), own_site(by, scores.getSite()),
              short_list("differences", scores.getDifferences().size()),
              short_list("guard", scores.getGuard().size()),
              short_list("entropies", scores.getEntropies().size()),
              short_list("entropiesBefore", scores.getEntropiesBefore().size())});
}

result<void> check(schema::FactorsWanted::Reader wanted, const limits& bounds) {
  return all({short_texts({{"adapter", wanted.getAdapter()}}),
              one_chunk("count", wanted.getCount(), bounds)});
}

result<void> check(const speaker& by, schema::JobRequest::Reader request) {
  return all({short_texts({{"adapter", request.getAdapter()},
                           {"site", request.getSite()},
                           {"trainingFile", request.getTrainingFile()},
                           {"suffix", request.getSuffix()},
                           {"owner", request.getOwner()}}),
              own_site(by, request.getSite())});
}

result<void> check_job_id(capnp::Text::Reader id) { return short_texts({{"id", id}}); }

result<void> check(const speaker& by, schema::Register::Reader what) {
  if (by.node != what.getNode().cStr())
    return error{errc::forbidden, "node " + by.node + " cannot register for another"};
  if (by.elsewhere && !what.getAtStart())
    return error{errc::forbidden, "node " + by.node +
                                      " was not started by its head and loads no versions for the "
                                      "whole cluster; load it at the head"};
  return short_texts({{"adapter", what.getAdapter()},
                      {"digest", what.getDigest()},
                      {"source", what.getSource()},
                      {"baseDigest", what.getBaseDigest()},
                      {"folder", what.getFolder()}});
}

// Live traffic is counted by the node that a snapshot names.
result<void> check(const speaker& by, schema::Snapshot::Reader snapshot) {
  if (by.node != snapshot.getNode().cStr())
    return error{errc::forbidden, "node " + by.node + " cannot report as \"" +
                                      std::string(snapshot.getNode()).substr(0, 256) + "\""};
  if (snapshot.getSite().size() > 0) return own_site(by, snapshot.getSite());
  return {};
}

result<void> check_retire(const speaker& by) {
  if (!by.elsewhere) return {};
  return error{errc::forbidden, "node " + by.node +
                                    " was not started by its head and takes no version out of the "
                                    "whole cluster; unload it at the head"};
}

limits with_chunks(const limits& bounds) {
  limits wider = bounds;
  wider.frame_bytes_max = std::max(bounds.frame_bytes_max, bounds.chunk_bytes_max + envelope_bytes);
  return wider;
}

}  // namespace collm::link
