// What no single field of a manifest shows.
#include <algorithm>
#include <functional>

#include "coordinator/round_policy.hpp"
#include "deploy/manifest_read.hpp"
#include "deploy/manifest_strategy.hpp"

namespace collm::deploy {
namespace {

/// That train: all of them, unless some are set apart for it.
std::uint32_t count_trainers(const manifest& m) {
  const auto apart = set_apart(m.nodes, m.coordinator);
  if (apart && !apart->empty()) return static_cast<std::uint32_t>(apart->size());
  std::uint32_t replicas = 0;
  for (const node_spec& n : m.nodes) replicas += n.replicas;
  return replicas;
}

bool split(const manifest& m) { return m.coordinator.policy == "static_split"; }

std::string item(const char* list, std::size_t index) {
  return std::string("spec.") + list + "[" + std::to_string(index) + "]";
}

/// Blames every text after its first use.
class once {
 public:
  once(const manifest& m, std::vector<problem>& problems, std::string what)
      : m_(m), problems_(problems), what_(std::move(what)) {}
  void use(const std::string& text, const std::string& field) {
    if (text.empty()) return;
    const auto [first, fresh] = used_.emplace(text, field);
    if (fresh) return;
    problems_.push_back(
        {m_.where(field), field, what_ + " \"" + text + "\" is already taken by " + first->second});
  }

 private:
  const manifest& m_;
  std::vector<problem>& problems_;
  std::string what_;
  std::map<std::string, std::string> used_;
};

void check_names(const manifest& m, std::vector<problem>& problems) {
  once adapters(m, problems, "adapter name"), nodes(m, problems, "node name"),
      tenants(m, problems, "tenant name"), keys(m, problems, "key");
  keys.use(m.admin_key_sha256, "spec.admin.keySha256");
  adapters.use("base", "the base itself");
  adapters.use(m.model.source, "the base itself");
  nodes.use("head", "the head");
  for (std::size_t i = 0; i < m.adapters.size(); ++i)
    adapters.use(m.adapters[i].name, item("adapters", i) + ".name");
  for (std::size_t i = 0; i < m.nodes.size(); ++i)
    nodes.use(m.nodes[i].name, item("nodes", i) + ".name");
  for (std::size_t i = 0; i < m.tenants.size(); ++i) {
    tenants.use(m.tenants[i].name, item("tenants", i) + ".name");
    keys.use(m.tenants[i].key_sha256, item("tenants", i) + ".keySha256");
  }
}

void check_addresses(const manifest& m, std::vector<problem>& problems) {
  once addresses(m, problems, "address");
  const auto use = [&](const std::optional<address>& a, const std::string& field) {
    if (a && a->port != 0) addresses.use(to_string(*a), field);
  };
  use(m.head.http, "spec.head.gateway.http");
  use(m.head.capnp, "spec.head.gateway.capnp");
  use(m.head.link, "spec.head.listen");
  use(m.head.enrol, "spec.head.enrol");
  for (std::size_t i = 0; i < m.nodes.size(); ++i) {
    if (m.nodes[i].where == placement::remote) continue;  // its ports are another machine's
    use(m.nodes[i].http, item("nodes", i) + ".gateway.http");
    use(m.nodes[i].capnp, item("nodes", i) + ".gateway.capnp");
  }
}

/// Whoever can be reached from other machines needs keys and TLS; the native port has neither.
void check_reach(const manifest& m, std::vector<problem>& problems) {
  const auto check = [&](const auto& gateway, const std::string& path, bool keys) {
    const std::string field = path + ".http";
    const std::string lacks = std::string(gateway.tls ? "" : "gateway.tls (certificate and key)") +
                              (!gateway.tls && !keys ? " and " : "") +
                              (keys ? "" : "keys (spec.tenants, of its site)");
    const bool beyond = gateway.http.port != 0 && !is_loopback(gateway.http.host);
    if (beyond && !lacks.empty()) {
      problems.push_back(
          {m.where(field), field,
           "\"" + gateway.http.host + "\" is beyond loopback and lacks " + lacks +
               "; add what is lacking, or write 127.0.0.1:" + std::to_string(gateway.http.port)});
    }
    if (gateway.capnp && !m.tenants.empty()) {
      problems.push_back({m.where(path + ".capnp"), path + ".capnp",
                          "the Cap'n Proto port asks nobody for a key, so whoever is on this "
                          "machine would pass by those of spec.tenants; leave it out"});
    }
  };
  check(m.head, "spec.head.gateway", !m.tenants.empty());
  for (std::size_t i = 0; i < m.nodes.size(); ++i) {
    const bool keys = std::any_of(m.tenants.begin(), m.tenants.end(),
                                  [&](const tenant_spec& t) { return t.site == m.nodes[i].site; });
    check(m.nodes[i], item("nodes", i) + ".gateway", keys);
  }
}

void check_reference(const manifest& m, std::vector<problem>& problems, const std::string& field,
                     const char* what, const std::string& name,
                     const std::vector<std::string>& known) {
  if (name.empty() || std::find(known.begin(), known.end(), name) != known.end()) return;
  const std::string meant = nearest(name, known);
  problems.push_back(
      {m.where(field), field,
       std::string("no ") + what + " \"" + name + "\" in this manifest; " +
           (meant.empty() ? "there are: " + joined(known) : "did you mean \"" + meant + "\"?")});
}

void check_ranks(const manifest& m, std::size_t i, std::vector<problem>& problems,
                 const std::vector<std::string>& sites) {
  const federation_spec& f = m.federation[i];
  const auto of = std::find_if(m.adapters.begin(), m.adapters.end(),
                               [&](const adapter_spec& a) { return a.name == f.adapter; });
  once ranked(m, problems, "site");
  for (std::size_t r = 0; r < f.ranks.size(); ++r) {
    const std::string at = item("federation", i) + ".ranks[" + std::to_string(r) + "]";
    check_reference(m, problems, at + ".site", "site", f.ranks[r].site, sites);
    ranked.use(f.ranks[r].site, at + ".site");
    // A folder's rank is known when it is read; a larger one here means all that it has.
    if (of == m.adapters.end() || !of->path.empty() || f.ranks[r].rank <= of->rank) continue;
    problems.push_back({m.where(at + ".rank"), at + ".rank",
                        "rank " + std::to_string(f.ranks[r].rank) + " is above the adapter's " +
                            std::to_string(of->rank) + "; give the adapter the largest rank"});
  }
}

void check_strategy(const manifest& m, std::size_t i, std::vector<problem>& problems) {
  std::string field = item("federation", i) + ".strategy";
  const bool misspelt = std::any_of(problems.begin(), problems.end(),
                                    [&](const problem& p) { return p.field.starts_with(field); });
  if (misspelt) return;
  auto f = m.federation[i];
  auto how = strategy_of(f);
  if (how) return;
  f.ranks.clear();
  if (strategy_of(f)) field = item("federation", i) + ".ranks";
  problems.push_back({m.where(field), field, how.failure().message});
}

void check_references(const manifest& m, std::vector<problem>& problems) {
  std::vector<std::string> adapters, sites;
  for (const adapter_spec& a : m.adapters) adapters.push_back(a.name);
  for (const node_spec& n : m.nodes) {
    if (std::find(sites.begin(), sites.end(), n.site) == sites.end()) sites.push_back(n.site);
  }
  once federated(m, problems, "adapter");
  for (std::size_t i = 0; i < m.federation.size(); ++i) {
    const std::string field = item("federation", i) + ".adapter";
    check_reference(m, problems, field, "adapter", m.federation[i].adapter, adapters);
    federated.use(m.federation[i].adapter, field);
    check_ranks(m, i, problems, sites);
    check_strategy(m, i, problems);
  }
  for (std::size_t i = 0; i < m.tenants.size(); ++i) {
    check_reference(m, problems, item("tenants", i) + ".site", "site", m.tenants[i].site, sites);
  }
}

void check_quorums(const manifest& m, std::vector<problem>& problems) {
  for (std::size_t i = 0; i < m.federation.size(); ++i) {
    const std::uint32_t quorum = m.federation[i].quorum, replicas = count_trainers(m);
    if (quorum <= replicas) continue;
    const std::string field = item("federation", i) + ".round.quorum";
    problems.push_back({m.where(field), field,
                        "a quorum of " + std::to_string(quorum) + " can never be met by " +
                            std::to_string(replicas) + (replicas == 1 ? " replica" : " replicas") +
                            (!split(m)       ? ""
                             : replicas == 1 ? " that trains"
                                             : " that train")});
  }
}

/// A node that runs elsewhere needs a way in.
void check_remote(const manifest& m, std::vector<problem>& problems) {
  for (std::size_t i = 0; i < m.nodes.size(); ++i) {
    if (m.nodes[i].where != placement::remote) continue;
    const std::string field = item("nodes", i) + ".placement";
    if (!m.head.enrol)
      problems.push_back({m.where(field), field,
                          "a remote node joins at spec.head.enrol, which is missing; such as "
                          "enrol: 127.0.0.1:8098"});
    if (m.head.host.empty() && is_unspecified(m.head.link.host))
      problems.push_back({m.where("spec.head.listen"), "spec.head.host",
                          "is missing: a remote node cannot reach " + m.head.link.host +
                              "; write the name or address under which it finds this head"});
    return;
  }
}

void check_split(const manifest& m, std::vector<problem>& problems) {
  if (!split(m)) return;
  const auto blame = [&](const std::string& field, const std::string& message) {
    problems.push_back({m.where(field), field, message});
  };
  if (m.federation.empty())
    blame("spec.coordinator.policy",
          "static_split sets replicas apart for training, and no adapter learns; add federation, "
          "or leave the policy out");
  if (const auto apart = set_apart(m.nodes, m.coordinator); !apart)
    blame(m.places.contains("spec.coordinator.trainShare") ? "spec.coordinator.trainShare"
                                                           : "spec.coordinator.policy",
          apart.failure().message);
  for (std::size_t i = 0; i < m.federation.size(); ++i)
    if (m.federation[i].alone)
      blame(item("federation", i) + ".control",
            "alone serves a copy where it is trained, and static_split lets nothing serve there; "
            "leave it out, or choose coserve_fill");
}

}  // namespace

std::string replica_name(const std::string& node, std::uint32_t index) {
  return node + "/" + std::to_string(index);
}

result<std::set<std::string>> set_apart(const std::vector<node_spec>& nodes,
                                        const coordinator_spec& c) {
  if (c.policy != "static_split") return std::set<std::string>();
  std::map<std::string, std::vector<std::string>> by_site;
  for (const node_spec& n : nodes)
    for (std::uint32_t i = 0; i < n.replicas; ++i)
      by_site[n.site].push_back(replica_name(n.name, i));
  return coordinator::static_split_of(by_site, c.train_share);
}

void complete_cluster(manifest& m) {
  for (std::size_t i = 0; i < m.federation.size(); ++i) {
    const bool written = m.places.contains(item("federation", i) + ".round.quorum");
    if (!written) m.federation[i].quorum = std::min(m.federation[i].quorum, count_trainers(m));
  }
}

void check_cluster(const manifest& m, std::vector<problem>& problems) {
  check_names(m, problems);
  check_addresses(m, problems);
  check_reach(m, problems);
  check_references(m, problems);
  check_quorums(m, problems);
  check_split(m, problems);
  check_remote(m, problems);
}

}  // namespace collm::deploy
