#include "actors/supervisor.hpp"

namespace collm::actors {

msg<schema::ClusterStatus> cluster_status(const supervisor_state& s, const supervisor_deps& deps,
                                          double now, const msg<schema::Snapshot>& head) {
  return msg<schema::ClusterStatus>::build([&](schema::ClusterStatus::Builder b) {
    b.setCluster(deps.cluster);
    b.setUptimeMs(now - s.begun_ms);
    b.setVersion(deps.product_version);
    b.setBaseName(deps.base_name);
    b.setBaseDigest(deps.base_digest);
    b.setPrecision(deps.precision);
    b.setHead(*head.read());
    b.setSloTtftMs(static_cast<std::uint32_t>(deps.ttft_slo_ms));
    b.setSloTpotMs(static_cast<std::uint32_t>(deps.tpot_slo_ms));
    auto inactive = b.initInactive(static_cast<std::uint32_t>(deps.inactive.size()));
    for (std::uint32_t i = 0; i < deps.inactive.size(); ++i) inactive.set(i, deps.inactive[i]);
    auto nodes = b.initNodes(static_cast<std::uint32_t>(s.nodes.size()));
    std::uint32_t i = 0;
    for (const auto& [name, m] : s.nodes) {
      auto n = nodes[i++];
      n.setName(name);
      n.setSite(m.plan.site);
      n.setState(m.state);
      n.setRestarts(m.restarts);
      n.setReason(m.reason);
      auto missing = n.initMissing(static_cast<std::uint32_t>(m.missing.size()));
      for (std::uint32_t k = 0; k < m.missing.size(); ++k) missing.set(k, m.missing[k]);
      n.setBeatAgeMs(m.last_beat_ms < 0 ? UINT32_MAX
                                        : static_cast<std::uint32_t>(now - m.last_beat_ms));
      if (m.snapshot.empty()) continue;
      n.setSnapshot(*m.snapshot.read());
      if (m.plan.remote || !m.plan.http_address.empty())
        n.getSnapshot().setHttpAddress(m.plan.http_address);
    }
    if (!s.versions.empty()) b.setVersions(s.versions.read()->getVersions());
  });
}

}  // namespace collm::actors
