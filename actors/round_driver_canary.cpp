// The canary of a round: live requests and the sites' canary reference sets judge it.
#include <cmath>

#include "actors/round_driver.hpp"

namespace collm::actors {

namespace {

namespace fed = federation;
using level = schema::EventLevel;

}  // namespace

void round_driver::traffic(const schema::Snapshot::Reader& from) {
  if (!deps_.canary) return;
  traffic_.heard(from.getNode().cStr(), from.getPid(), traffic_of(from, deps_.adapter), now());
}

/// Requests that came in at the head's own gateway.
void round_driver::ask_own_traffic() {
  if (!deps_.canary) return;
  self_->request(deps_.telemetry, caf::infinite, list_atom::value)
      .then([this](const msg<schema::Snapshot>& s) { traffic(*s.read()); },
            [](const caf::error&) {});  // it ends with the process
}

/// A verdict of live traffic is told beside the gate's.
bool round_driver::end_canary(bool passed, const std::string& why) {
  const auto gate = book_.newest()->reason();
  return moved(fed::canary_ended{passed, gate + (gate.empty() ? "" : "; ") + "canary: " + why});
}

bool round_driver::begin_canary() {
  if (now() - started_ms_ < deps_.gather_ms) return false;  // a head that came back hears its nodes
  const double rate = traffic_.requests_per_s(deps_.adapter, now());
  if (!deps_.canary || !coordinator::canary_possible(rate)) {
    if (deps_.canary)
      event(level::INFO, "canary_left_out",
            std::to_string(std::lround(60 * rate)) +
                " requests in the last minute, a canary needs 60: the gate alone decides");
    return moved(fed::canary_ended{true, ""});
  }
  const version_id id{deps_.adapter, book_.newest()->version()};
  ask_registry(
      [this](const reply<record>& r) {
        if (*r) return moved(fed::canary_began{});
        if (!passes(r->failure())) return end_canary(false, r->failure().message);
        failed("the canary", r->failure());
        return false;
      },
      move_atom::value, id, schema::VersionState::CANARY, book_.newest()->reason());
  return false;
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
  if (!canary_) {  // a head that came back begins anew
    canary_.emplace(*deps_.canary, now());
    traffic_.mark();
    for (const auto& [name, s] : shadows_)
      if (now() - s.heard_ms <= deps_.patience.silent_ms)
        canary_->heard({name, s.site, s.canary_samples}, now());
  }
  const auto counts = traffic_.counts(id, {id.name, book_.newest()->setup().serving});
  const auto v = canary_->judge(counts, now());
  if (v.decision == coordinator::canary_decision::waiting) return false;
  return end_canary(v.decision == coordinator::canary_decision::promote,
                    coordinator::canary_line(v, counts));
}

}  // namespace collm::actors
