// The canary of a round: live requests and the sites' canary reference sets judge it.
#include <cmath>

#include "actors/round_driver.hpp"

namespace collm::actors {

namespace {

namespace fed = federation;
using level = schema::EventLevel;

}  // namespace

void round_driver::traffic(const msg<schema::Snapshot>& from) { count(from, false); }

/// At the head each site's answers count beside those of its nodes, or one site's would hide
/// another's; a node speaks for its own site alone.
void round_driver::count(const msg<schema::Snapshot>& from, bool of_head) {
  wake();
  if (!deps_.canary) return;
  const auto s = from.read();
  const std::string node = s->getNode().cStr();
  const std::string own = s->getSite().size() > 0 ? std::string(s->getSite()) : node;
  auto by_site = traffic_of(*s, deps_.adapter);
  traffic_.heard(node, own, s->getPid(), by_site[""], now());
  by_site.erase("");
  if (!of_head) return;
  for (const auto& [site, counts] : by_site) {
    const auto name = node + " for " + site;
    // This process is that one: what it counted before it first spoke of the site is none.
    if (asked_sites_.insert(site).second) traffic_.heard(name, site, s->getPid(), {}, now());
    traffic_.heard(name, site, s->getPid(), counts, now());
  }
}

/// Requests that came in at the head's own gateway.
void round_driver::ask_own_traffic() {
  if (!deps_.canary) return;
  self_->request(deps_.telemetry, caf::infinite, list_atom::value)
      .then([this](const msg<schema::Snapshot>& s) { count(s, true); },
            [](const caf::error&) {});  // it ends with the process
}

/// A verdict of live traffic is told beside the gate's.
bool round_driver::end_canary(bool passed, const std::string& why) {
  const auto gate = book_.newest()->reason();
  return moved(fed::canary_ended{passed, gate + (gate.empty() ? "" : "; ") + "canary: " + why});
}

bool round_driver::begin_canary() {
  if (!versions_known_ || now() - started_ms_ < deps_.gather_ms)
    return false;  // a head that came back hears its nodes
  if (canary_overtaken()) return true;
  const version_id id{deps_.adapter, book_.newest()->version()};
  const auto* row = version(id.number);
  if (row != nullptr && row->read()->getState() == schema::VersionState::CANARY)
    return moved(fed::canary_began{});  // it answers already: this head's end came in between
  const double rate = traffic_.requests_per_s(deps_.adapter, now());
  if (!deps_.canary || !coordinator::canary_possible(rate)) {
    // Nodes that started with this head have no whole minute to tell of yet.
    if (deps_.canary && now() - started_ms_ < coordinator::canary_rate_ms) return false;
    if (deps_.canary)
      event(level::INFO, "canary_left_out",
            std::to_string(std::lround(60 * rate)) +
                " requests in the last minute, a canary needs 60: the gate alone decides");
    return moved(fed::canary_ended{true, ""});
  }
  ask_registry(
      [this](const reply<record>& r) {
        if (*r) return moved(fed::canary_began{});
        if (passes(r->failure()))
          failed("the canary", r->failure());
        else
          canary_refused(r->failure().message);
        return false;
      },
      move_atom::value, id, schema::VersionState::CANARY, book_.newest()->reason());
  return false;
}

/// An operator may have been faster; what the registry says now tells.
void round_driver::canary_refused(const std::string& why) {
  asking_ = true;
  refresh([this, why](const result<void>& known) {
    asking_ = false;
    if (known && !canary_overtaken()) end_canary(false, why);
    advance();
  });
}

/// Whether an operator decided meanwhile.
bool round_driver::canary_overtaken() {
  const auto* serves = serving();
  if (serves == nullptr) return end_canary(false, "no version serves beside it any more");
  const auto& round = *book_.newest();
  const auto number = serves->read()->getNumber();
  if (number == round.setup().serving) return false;
  if (number == round.version()) return end_canary(true, "promoted by an operator");
  return end_canary(false, "version " + std::to_string(number) + " was put in place of " +
                               std::to_string(round.setup().serving) + " meanwhile");
}

bool round_driver::watch_canary(const version_id& id) {
  if (!versions_known_) return false;
  if (!deps_.canary) return end_canary(true, "the manifest asks for none any more");
  if (canary_overtaken()) return true;
  const version_id before{id.name, book_.newest()->setup().serving};
  if (!canary_) {  // a head that came back begins anew
    canary_.emplace(*deps_.canary, now());
    traffic_.mark(id, before);
    for (const auto& [name, s] : shadows_)
      if (now() - s.heard_ms <= deps_.patience.silent_ms)
        canary_->heard({name, s.site, s.canary_samples}, now());
  }
  const auto traffic = traffic_.traffic(id, before);
  const auto v = canary_->judge(traffic, now());
  if (v.decision == coordinator::canary_decision::waiting) return false;
  return end_canary(v.decision == coordinator::canary_decision::promote,
                    coordinator::canary_line(v, traffic.all));
}

}  // namespace collm::actors
