#include "link/training_rules.hpp"

#include <algorithm>
#include <initializer_list>
#include <vector>

namespace collm::link {
namespace {

constexpr std::size_t envelope_bytes = 128u << 10;

// A name is compared with all its bytes: what stands behind a NUL would be kept and shown, and is
// not bounded.

/// Each name is a voice of its own in a round, so there are no more than the manifest gives.
result<void> own_client(const speaker& by, capnp::Text::Reader client) {
  const std::string name(client.begin(), client.size());
  for (std::uint32_t i = 0; i < by.replicas; ++i)
    if (name == by.node + "/" + std::to_string(i)) return {};
  return error{errc::forbidden, "node " + by.node + " cannot speak for \"" + name.substr(0, 256) +
                                    "\"; by the manifest its replicas are \"" + by.node +
                                    "/0\" to \"" + by.node + "/" + std::to_string(by.replicas - 1) +
                                    "\""};
}

result<void> own_site(const speaker& by, capnp::Text::Reader site) {
  if (site == by.site.c_str()) return {};
  return error{errc::forbidden, "node " + by.node + " is of site \"" + by.site +
                                    "\" and cannot speak for \"" +
                                    std::string(site.cStr()).substr(0, 256) + "\""};
}

/// Tenants of other sites find and cancel by this name what they asked for.
result<void> own_tenant(const speaker& by, capnp::Text::Reader owner) {
  const std::string name(owner.begin(), owner.size());
  if (!by.elsewhere || name.empty() || by.tenants.contains(name)) return {};
  return error{errc::forbidden, "node " + by.node + " cannot ask for tenant \"" +
                                    name.substr(0, 256) +
                                    "\": the manifest has none of that name at its site"};
}

struct named_text {
  const char* name;
  capnp::Text::Reader text;
};

result<void> short_texts(std::initializer_list<named_text> texts,
                         std::size_t most = training_text_max) {
  for (const auto& [name, text] : texts) {
    if (text.size() <= most) continue;
    return error{errc::too_large, std::string(name) + " has " + std::to_string(text.size()) +
                                      " bytes; at most " + std::to_string(most) + " are accepted"};
  }
  return {};
}

result<void> short_list(const char* name, std::uint32_t size,
                        std::uint32_t most = training_list_max) {
  if (size <= most) return {};
  return error{errc::too_large, std::string(name) + " has " + std::to_string(size) +
                                    " entries; at most " + std::to_string(most) + " are accepted"};
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

result<void> shown(std::initializer_list<named_text> texts) {
  return short_texts(texts, snapshot_text_max);
}

template <class List, class Check>
result<void> rows(const char* name, List list, Check check_row) {
  if (auto few = short_list(name, list.size(), snapshot_list_max); !few) return few;
  for (const auto row : list)
    if (auto good = check_row(row); !good) return good;
  return {};
}

/// The head keeps it, shows it and hands it on to whoever asks.
result<void> small(schema::Snapshot::Reader s) {
  return all({shown({{"kernelPath", s.getKernelPath()}, {"httpAddress", s.getHttpAddress()}}),
              rows("actors", s.getActors(),
                   [](auto a) {
                     return shown({{"actors.name", a.getName()}, {"actors.id", a.getId()}});
                   }),
              rows("replicas", s.getReplicas(),
                   [](auto r) {
                     return shown({{"replicas.name", r.getName()}});
                   }),
              rows("versions", s.getVersions(),
                   [](auto v) {
                     return shown({{"versions.adapter", v.getAdapter()},
                                   {"versions.digest", v.getDigest()}});
                   }),
              rows("ledger", s.getLedger(),
                   [](auto l) {
                     return shown({{"ledger.name", l.getName()}});
                   }),
              rows("traffic", s.getTraffic(), [](auto t) {
                return shown({{"traffic.adapter", t.getAdapter()}, {"traffic.site", t.getSite()}});
              })});
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
              own_site(by, request.getSite()), own_tenant(by, request.getOwner())});
}

msg<schema::JobList> visible_to(const speaker& by, const msg<schema::JobList>& all) {
  if (!by.elsewhere) return all;
  const auto list = all.read();
  std::vector<schema::Job::Reader> own;
  for (const auto job : list->getJobs())
    if (by.site == job.getSite().cStr()) own.push_back(job);
  return msg<schema::JobList>::build([&](schema::JobList::Builder to) {
    auto jobs = to.initJobs(static_cast<std::uint32_t>(own.size()));
    for (std::uint32_t i = 0; i < own.size(); ++i) jobs.setWithCaveats(i, own[i]);
  });
}

result<void> check_cancel(const speaker& by, const msg<schema::JobList>& all,
                          const std::string& id) {
  if (!by.elsewhere) return {};
  const auto known = visible_to(by, all);
  const auto list = known.read();
  for (const auto job : list->getJobs())
    if (id == job.getId().cStr()) return {};
  return error{errc::not_found, "site \"" + by.site + "\" has no job \"" + id.substr(0, 256) +
                                    "\"; the head cancels those of other sites"};
}

result<void> check_job_id(capnp::Text::Reader id) { return short_texts({{"id", id}}); }

result<void> check(const speaker& by, schema::Register::Reader what) {
  if (what.getNode() != by.node.c_str())
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
  if (snapshot.getNode() != by.node.c_str())
    return error{errc::forbidden, "node " + by.node + " cannot report as \"" +
                                      std::string(snapshot.getNode()).substr(0, 256) + "\""};
  if (snapshot.getSite().size() > 0)
    if (auto own = own_site(by, snapshot.getSite()); !own) return own;
  return small(snapshot);
}

result<void> check_retire(const speaker& by) {
  if (!by.elsewhere) return {};
  return error{errc::forbidden, "node " + by.node +
                                    " was not started by its head and takes no version out of the "
                                    "whole cluster; unload it at the head"};
}

std::size_t chunk_message_max(const limits& bounds) {
  return bounds.chunk_bytes_max + envelope_bytes;
}

limits with_chunks(const limits& bounds) {
  limits wider = bounds;
  wider.frame_bytes_max = std::max(bounds.frame_bytes_max, chunk_message_max(bounds));
  return wider;
}

}  // namespace collm::link
