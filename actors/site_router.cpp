#include "actors/site_router.hpp"

#include <algorithm>

#include "actors/replies.hpp"

namespace collm::actors {

namespace {

using self_ptr = site_router_actor::stateful_pointer<site_router_state>;

class ingress {
 public:
  ingress(self_ptr self, std::vector<std::string> sites)
      : self_(self), s_(self->state), sites_(std::move(sites)) {}

  void route(const msg<schema::Request>& request, const sink_actor& sink) {
    const auto r = request.read();
    const std::string site = r->getSite().cStr();
    if (s_.draining) return refuse(*r, sink, {errc::draining, "the cluster is stopping", 5000});
    if (site.empty() || std::find(sites_.begin(), sites_.end(), site) == sites_.end()) {
      return refuse(*r, sink, {errc::bad_request, unnamed(site)});
    }
    site_router_state::way* best = nullptr;
    for (auto& [name, way] : s_.nodes) {
      if (way.site == site && (best == nullptr || way.sent < best->sent)) best = &way;
    }
    if (best == nullptr) {
      return refuse(*r, sink,
                    {errc::unavailable, "no node of site '" + site + "' is serving", 2000});
    }
    ++best->sent;
    self_->send(best->router, request, sink);
  }

  void cancel(request_id id, const sink_actor& sink) {
    for (const auto& [name, way] : s_.nodes) self_->send(way.router, cancel_atom::value, id, sink);
  }

  void changed(const node_route& n) {
    if (n.router) {
      s_.nodes[n.node] = {n.site, n.router, 0};
    } else {
      s_.nodes.erase(n.node);
    }
  }
  void drain() { s_.draining = true; }

 private:
  std::string unnamed(const std::string& site) const {
    std::string known;
    for (const auto& s : sites_) known += (known.empty() ? "" : ", ") + s;
    return (site.empty()
                ? "the head needs the request's site (header X-CoLLM-Site or field \"site\")"
                : "site '" + site + "' does not exist") +
           "; sites: " + known;
  }
  void refuse(const schema::Request::Reader& r, const sink_actor& sink, const error& why) {
    self_->send(sink, reject_message(r.getId(), why));
  }

  self_ptr self_;
  site_router_state& s_;
  std::vector<std::string> sites_;
};

}  // namespace

site_router_actor::behavior_type site_router_behavior(self_ptr self, std::vector<std::string> sites,
                                                      meter_ptr counts) {
  watch(self, counts);
  auto d = std::make_shared<ingress>(self, std::move(sites));
  const auto m = metered(self, counts);
  return {
      m([d](const msg<schema::Request>& r, const sink_actor& s) { d->route(r, s); }),
      m([d](cancel_atom, request_id id, const sink_actor& s) { d->cancel(id, s); }),
      m([](const msg<schema::VersionRecord>&) {}),  // versions are the nodes' business
      m([](const replica_report_ptr&) {}),
      m([](list_atom) { return msg<schema::VersionList>::build([](auto) {}); }),
      m([d](drain_atom) { d->drain(); }),
      m([counts](status_atom) { return counts->status(); }),
      m([d](const node_route& n) { d->changed(n); }),
  };
}

}  // namespace collm::actors
