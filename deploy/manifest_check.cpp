// What no single field of a manifest shows.
#include <algorithm>
#include <functional>

#include "deploy/manifest_read.hpp"

namespace collm::deploy {
namespace {

std::uint32_t count_replicas(const manifest& m) {
  std::uint32_t replicas = 0;
  for (const node_spec& n : m.nodes) replicas += n.replicas;
  return replicas;
}

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
  for (std::size_t i = 0; i < m.nodes.size(); ++i) {
    use(m.nodes[i].http, item("nodes", i) + ".gateway.http");
    use(m.nodes[i].capnp, item("nodes", i) + ".gateway.capnp");
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
  }
  for (std::size_t i = 0; i < m.tenants.size(); ++i) {
    check_reference(m, problems, item("tenants", i) + ".site", "site", m.tenants[i].site, sites);
  }
}

void check_quorums(const manifest& m, std::vector<problem>& problems) {
  for (std::size_t i = 0; i < m.federation.size(); ++i) {
    const std::uint32_t quorum = m.federation[i].quorum, replicas = count_replicas(m);
    if (quorum <= replicas) continue;
    const std::string field = item("federation", i) + ".round.quorum";
    problems.push_back({m.where(field), field,
                        "a quorum of " + std::to_string(quorum) + " can never be met by " +
                            std::to_string(replicas) + (replicas == 1 ? " replica" : " replicas")});
  }
}

}  // namespace

void complete_cluster(manifest& m) {
  for (std::size_t i = 0; i < m.federation.size(); ++i) {
    const bool written = m.places.contains(item("federation", i) + ".round.quorum");
    if (!written) m.federation[i].quorum = std::min(m.federation[i].quorum, count_replicas(m));
  }
}

void check_cluster(const manifest& m, std::vector<problem>& problems) {
  check_names(m, problems);
  check_addresses(m, problems);
  check_references(m, problems);
  check_quorums(m, problems);
}

}  // namespace collm::deploy
