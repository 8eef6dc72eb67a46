#include "actors/telemetry.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>

namespace collm::actors {

namespace {

using self_ptr = telemetry_actor::stateful_pointer<telemetry_state>;
constexpr std::size_t recent_max = 4096;
constexpr double recent_ms = 60000;
constexpr std::size_t adapters_max = 32;

double resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  double total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

/// Nearest-rank quantile; 0 of nothing.
float quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(values.size())));
  return static_cast<float>(values[std::max<std::size_t>(rank, 1) - 1]);
}

class recorder {
 public:
  recorder(self_ptr self, telemetry_deps deps)
      : self_(self), s_(self->state), deps_(std::move(deps)) {
    s_.families = std::make_unique<metrics>(deps_.model, adapters_max);
    s_.begun_ms = s_.slot_ms = now_ms(self_);
    make_snapshot();
  }

  /// What still runs when even all its tokens in time would have been there has broken its promise.
  void began(const request_began& r) {
    double late_at_ms = r.arrival_ms + deps_.ttft_slo_ms;
    if (r.first_ms >= 0 && r.first_ms <= late_at_ms)
      late_at_ms = r.first_ms + deps_.tpot_slo_ms * r.tokens_left_max;
    if (r.computed) late_at_ms = std::numeric_limits<double>::infinity();
    counter_of(r.site).began(r.key, {r.adapter, r.version}, late_at_ms, now_ms(self_));
  }

  void outcome(const request_outcome& o) {
    using kind = request_outcome::kind;
    for (auto& [site, counter] : s_.traffic) counter.left(o.key);  // a lost bridge names none
    switch (o.how) {
      case kind::answered:
        ++s_.answered;
        break;
      case kind::refused:
        ++s_.refused;
        break;
      case kind::failed:
        ++s_.failed;
        break;
      case kind::cancelled:
        ++s_.cancelled;
        break;
    }
    s_.families->observe(o, deps_.ttft_slo_ms, deps_.tpot_slo_ms);
    if (o.how == kind::cancelled) return;
    const bool good =
        o.how == kind::answered && o.ttft_ms <= deps_.ttft_slo_ms && o.tpot_ms <= deps_.tpot_slo_ms;
    using quality = coordinator::traffic_counter::quality;
    // Who names a version has chosen: only what the bare name led to tells the versions apart.
    if (o.how != kind::refused && !o.adapter.empty() && !o.by_number)
      counter_of(o.site).ended({o.adapter, o.version},
                               o.not_finite ? quality::not_finite
                               : good       ? quality::good
                                            : quality::bad,
                               now_ms(self_));
    if (s_.recent.size() == recent_max) s_.recent.pop_front();
    s_.recent.push_back({now_ms(self_), o.ttft_ms, o.tpot_ms, good});
  }

  void report(const replica_report_ptr& r) {
    const bool first = !s_.replicas.contains(r->replica);
    s_.replicas[r->replica] = r;
    s_.families->observe(*r);
    if (first) make_snapshot();  // whoever waits for this replica need not wait for the slot
  }

  void version(const msg<schema::VersionRecord>& record) {
    const auto r = record.read();
    const version_id id{r->getAdapter().cStr(), r->getNumber()};
    if (r->getState() == schema::VersionState::RETIRED) {
      s_.states[id] = schema::VersionState::DRAINING;  // until its last pin ends
    } else {
      s_.states[id] = r->getState();
    }
  }

  void event(const msg<schema::Event>& e) {
    if (s_.events.size() == deps_.events_max) {
      s_.events.pop_front();
      s_.event_times.pop_front();
    }
    s_.events.push_back(msg<schema::Event>::build([&](schema::Event::Builder b) {
      const auto from = e.read();
      b.setSeq(s_.next_seq++);
      b.setLevel(from->getLevel());
      b.setNode(from->getNode());
      b.setKind(from->getKind());
      b.setMessage(from->getMessage());
    }));
    s_.event_times.push_back(std::chrono::steady_clock::now());
    if (deps_.on_event) deps_.on_event(s_.events.back());
  }

  std::vector<msg<schema::Event>> events_after(std::uint32_t seq) const {
    std::vector<msg<schema::Event>> out;
    const auto now = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < s_.events.size(); ++i) {
      const auto e = s_.events[i].read();
      if (e->getSeq() <= seq) continue;
      out.push_back(msg<schema::Event>::build([&](schema::Event::Builder b) {
        b.setSeq(e->getSeq());
        b.setAgeMs(
            static_cast<std::uint32_t>((now - s_.event_times[i]) / std::chrono::milliseconds(1)));
        b.setLevel(e->getLevel());
        b.setNode(e->getNode());
        b.setKind(e->getKind());
        b.setMessage(e->getMessage());
      }));
    }
    return out;
  }

  std::string metrics_text() {
    s_.families->observe(deps_.board->all());
    return s_.families->text();
  }

  void slot() {
    const double now = now_ms(self_);
    while (!s_.recent.empty() && now - s_.recent.front().at_ms > recent_ms) s_.recent.pop_front();
    const double span_ns = std::max(1.0, (now - s_.slot_ms) * 1e6);
    s_.slot_ms = now;
    for (const auto& m : deps_.board->all()) {
      auto& b = s_.actors[m.get()];
      const auto total = m->busy_ns();
      b.share = static_cast<float>(std::min(1.0, static_cast<double>(total - b.ns) / span_ns));
      b.ns = total;
      b.slowest_ms = m->take_slowest_ms();
    }
    make_snapshot();
    self_->delayed_send(self_, deps_.slot, slot_atom::value);
  }

 private:
  void make_snapshot() {
    s_.snapshot = msg<schema::Snapshot>::build([&](schema::Snapshot::Builder b) {
      b.setNode(deps_.node);
      b.setSite(deps_.site);
      b.setPid(static_cast<std::uint32_t>(getpid()));
      b.setUptimeMs(now_ms(self_) - s_.begun_ms);
      b.setKernelPath(deps_.kernel_path);
      b.setHttpAddress(deps_.http_address);
      b.setDraining(deps_.draining());
      b.setResidentBytes(resident_bytes());
      write_actors(b);
      write_replicas(b);
      write_versions(b);
      write_ledger(b);
      write_requests(b);
      write_traffic(b);
    });
  }

  void write_actors(schema::Snapshot::Builder b) {
    const auto meters = deps_.board->all();
    auto out = b.initActors(static_cast<std::uint32_t>(meters.size()));
    for (std::uint32_t i = 0; i < meters.size(); ++i) {
      meters[i]->write(out[i]);
      const auto& busy = s_.actors[meters[i].get()];
      out[i].setBusyShare(busy.share);
      out[i].setSlowestMs(busy.slowest_ms);
    }
  }

  void write_replicas(schema::Snapshot::Builder b) {
    auto out = b.initReplicas(static_cast<std::uint32_t>(s_.replicas.size()));
    const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
    std::uint32_t i = 0;
    double tokens = 0;
    for (const auto& [name, r] : s_.replicas) {
      auto o = out[i++];
      o.setName(name);
      o.setQueued(r->queued);
      o.setRunning(r->running);
      o.setKvBlocksFree(r->kv_free);
      o.setKvBlocksTotal(r->kv_total);
      o.setTokensPerSecond(static_cast<float>(r->tokens_per_s));
      o.setPromptTokensPerSecond(static_cast<float>(r->prompt_tokens_per_s));
      const auto asked = static_cast<double>(std::max<std::uint64_t>(1, r->prefix_queries));
      o.setPrefixHitShare(static_cast<float>(static_cast<double>(r->prefix_hits) / asked));
      o.setStepMs(static_cast<float>(r->step_ms_mean));
      o.setPreemptions(r->preemptions);
      o.setTrainingShare(static_cast<float>(r->training.share));
      o.setTrainingTokensPerSecond(static_cast<float>(r->training.tokens_per_s));
      o.setUnitMs(static_cast<float>(r->training.unit_ms));
      if (auto beat = deps_.beats.find(name); beat != deps_.beats.end()) {
        o.setHeartbeatAgeMs(static_cast<std::uint32_t>(
            std::max<std::int64_t>(0, now - beat->second->load()) / 1000000));
      }
      tokens += r->tokens_per_s;
    }
    b.setTokensPerSecond(static_cast<float>(tokens));
  }

  void write_versions(schema::Snapshot::Builder b) {
    std::map<version_id, replica_report::version>
        all;  // replicas of one node hold the same ones: pins add up
    for (const auto& [name, r] : s_.replicas) {
      for (const auto& v : r->versions) {
        auto& sum = all[v.id];
        const auto pins = sum.pins + v.pins;
        sum = v;
        sum.pins = pins;
      }
    }
    std::erase_if(s_.states, [&](const auto& known) {
      return known.second == schema::VersionState::DRAINING && !all.contains(known.first);
    });
    auto out = b.initVersions(static_cast<std::uint32_t>(all.size()));
    std::uint32_t i = 0;
    for (const auto& [id, v] : all) {
      auto o = out[i++];
      o.setAdapter(id.name);
      o.setNumber(id.number);
      o.setState(schema::VersionState::SERVING);
      const auto newer = all.upper_bound({id.name, id.number});
      if (newer != all.end() && newer->first.name == id.name)
        o.setState(schema::VersionState::DRAINING);
      if (const auto told = s_.states.find(id); told != s_.states.end()) o.setState(told->second);
      o.setPins(v.pins);
      o.setBytes(static_cast<double>(v.bytes));
      o.setDigest(v.digest);
    }
  }

  /// Of what clients asked of a site at the head, whose router lets in the plan's alone; at a node
  /// all are its own.
  coordinator::traffic_counter& counter_of(const std::string& site) {
    return s_.traffic[deps_.site.empty() ? site : ""];
  }

  void write_traffic(schema::Snapshot::Builder b) const {
    std::vector<std::pair<std::string, coordinator::version_traffic>> rows;
    for (const auto& [site, counter] : s_.traffic)
      for (auto& row : counter.view(now_ms(self_))) rows.emplace_back(site, row);
    auto out = b.initTraffic(static_cast<std::uint32_t>(rows.size()));
    for (std::uint32_t i = 0; i < rows.size(); ++i) {
      const auto& [site, row] = rows[i];
      out[i].setSite(site);
      out[i].setAdapter(row.id.name);
      out[i].setNumber(row.id.number);
      out[i].setAnswers(static_cast<double>(row.answers));
      out[i].setBad(static_cast<double>(row.bad));
      out[i].setNotFinite(static_cast<double>(row.not_finite));
      out[i].setRequestsPerSecond(static_cast<float>(row.requests_per_s));
      out[i].setOpen(static_cast<double>(row.open));
      out[i].setLate(static_cast<double>(row.late));
    }
  }

  void write_ledger(schema::Snapshot::Builder b) const {
    engine::memory_view sum;
    for (const auto& [name, r] : s_.replicas) {
      sum.base_bytes = std::max(sum.base_bytes, r->memory.base_bytes);
      sum.kv_bytes += r->memory.kv_bytes;
      sum.version_bytes += r->memory.version_bytes;
      sum.activation_bytes += r->memory.activation_bytes;
    }
    const std::map<std::string, double> measured = {
        {"base", static_cast<double>(sum.base_bytes)},
        {"kv", static_cast<double>(sum.kv_bytes)},
        {"versions", static_cast<double>(sum.version_bytes)},
        {"activations", static_cast<double>(sum.activation_bytes)}};
    auto out = b.initLedger(static_cast<std::uint32_t>(deps_.ledger.size()));
    for (std::uint32_t i = 0; i < deps_.ledger.size(); ++i) {
      const auto& row = deps_.ledger[i];
      out[i].setName(row.name);
      out[i].setBudget(row.budget);
      out[i].setShared(row.shared);
      if (auto at = measured.find(row.name); at != measured.end()) out[i].setBytes(at->second);
    }
  }

  void write_requests(schema::Snapshot::Builder b) {
    auto out = b.initRequests();
    const auto in_flight = deps_.requests_in_flight();
    out.setArrived(s_.answered + s_.refused + s_.failed + s_.cancelled + in_flight);
    out.setAnswered(s_.answered);
    out.setRefused(s_.refused);
    out.setFailed(s_.failed);
    out.setCancelled(s_.cancelled);
    out.setInFlight(in_flight);
    std::vector<double> ttft, tpot;
    double good = 0;
    for (const auto& r : s_.recent) {
      if (r.ttft_ms > 0) ttft.push_back(r.ttft_ms);
      if (r.tpot_ms > 0) tpot.push_back(r.tpot_ms);
      good += r.good ? 1 : 0;
    }
    b.setTtftMsP50(quantile(ttft, 0.5));
    b.setTtftMsP99(quantile(ttft, 0.99));
    b.setTpotMsP50(quantile(tpot, 0.5));
    b.setTpotMsP99(quantile(tpot, 0.99));
    b.setSloAttainment(
        s_.recent.empty() ? 1 : static_cast<float>(good / static_cast<double>(s_.recent.size())));
  }

  self_ptr self_;
  telemetry_state& s_;
  telemetry_deps deps_;
};

}  // namespace

telemetry_actor::behavior_type telemetry_behavior(self_ptr self, telemetry_deps deps) {
  auto counts = deps.counts;
  watch(self, counts);
  const auto slot = deps.slot;
  auto d = std::make_shared<recorder>(self, std::move(deps));
  const auto m = metered(self, counts);
  self->delayed_send(self, slot, slot_atom::value);
  return {
      m([d](const request_began& r) { d->began(r); }),
      m([d](const request_outcome& o) { d->outcome(o); }),
      m([d](const replica_report_ptr& r) { d->report(r); }),
      m([d](const msg<schema::VersionRecord>& r) { d->version(r); }),
      m([d](const msg<schema::Event>& e) { d->event(e); }),
      m([d](slot_atom) { d->slot(); }),
      m([self](list_atom) { return self->state.snapshot; }),
      m([d](events_atom, std::uint32_t seq) { return d->events_after(seq); }),
      m([d](metrics_atom) { return d->metrics_text(); }),
      m([counts](status_atom) { return counts->status(); }),
  };
}

}  // namespace collm::actors
