// A shadow without an engine: asks its aggregator for work each second as a real one does, trains
// for a virtual time, sends small random changes in chunks, and judges by a function of the test.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "actors/interfaces.hpp"
#include "store/digest.hpp"

namespace collm::testing_support {

/// What the test sets and sees; outlives the actors.
struct shadow_model {
  std::string replica, site;
  std::uint32_t train_samples = 100, gate_samples = 40, canary_samples = 40;
  float tokens_per_s = 0;
  std::int64_t tokens = 100;  ///< it trains on, a round
  std::chrono::milliseconds trains{3000};
  std::size_t chunk_bytes = 64;
  bool silent = false;    ///< as if stopped
  bool evaluates = true;  ///< answers EvaluateTask
  std::string declines = {}, fails = {};
  /// d of the site's sequence i, serving minus candidate.
  std::function<double(std::uint32_t)> difference = [](std::uint32_t i) {
    return 0.05 + 0.01 * (i * 7 % 5);
  };
  /// Cross entropy of its sequence i of the canary reference set.
  std::function<double(std::uint32_t)> entropy = [](std::uint32_t i) {
    return 1.0 + 0.01 * (i % 5);
  };
  std::function<double(std::uint32_t)> entropy_before = entropy;
  /// Changes of the trained factors; the same for a round, whatever the attempt.
  std::function<std::vector<float>(std::uint32_t round, std::size_t count)> changes = {};
  std::function<void(schema::UpdateHeader::Builder)> forge = {};

  schema::ShadowPhase phase = schema::ShadowPhase::IDLE;
  std::uint32_t round = 0, attempt = 0, steps = 0, parent = 0, accepted = 0, evaluated = 0;
  bool kept_moments = true;
  std::vector<std::string> errors = {};
  msg<schema::Work> task = {};
  double done_at_ms = 0;
  std::vector<float> update = {};

  std::vector<float> make_update(std::size_t count) const {
    if (changes) return changes(round, count);
    std::mt19937_64 rng(std::hash<std::string>{}(replica)*31 + round);
    std::normal_distribution<float> z(0, 0.1f);
    std::vector<float> out(count);
    for (float& v : out) v = z(rng);
    return out;
  }
};
using shadow_model_ptr = std::shared_ptr<shadow_model>;

using modelled_shadow_actor = caf::typed_actor<caf::reacts_to<actors::slot_atom>>;

struct modelled_shadow_deps {
  shadow_model_ptr model;
  std::string adapter, base_digest;
  std::function<std::size_t(schema::TrainedFactors)> count;  ///< floats of an update
  std::shared_ptr<actors::aggregator_actor> aggregator;      ///< the one of now
};

/// One turn a second, and what follows from the answers.
class modelled_shadow {
 public:
  using self_ptr = modelled_shadow_actor::pointer;
  modelled_shadow(self_ptr self, modelled_shadow_deps deps)
      : self_(self), deps_(std::move(deps)), m_(*deps_.model) {}

  void turn() {
    if (m_.silent || !*deps_.aggregator) return;
    self_->request(*deps_.aggregator, caf::infinite, state())
        .then(
            [this](const actors::reply<msg<schema::Work>>& r) {
              if (*r) return take(**r);
              m_.errors.push_back(r->failure().message);
            },
            [](const caf::error&) {});
    if (m_.phase == schema::ShadowPhase::UPLOADING) send_chunk(0, true);
  }

 private:
  double now() const {
    return std::chrono::duration<double, std::milli>(self_->clock().now().time_since_epoch())
        .count();
  }

  msg<schema::ShadowState> state() const {
    return msg<schema::ShadowState>::build([&](schema::ShadowState::Builder b) {
      b.setReplica(m_.replica);
      b.setSite(m_.site);
      b.setAdapter(deps_.adapter);
      b.setPhase(m_.phase);
      b.setTrainSamples(m_.train_samples);
      b.setGateSamples(m_.gate_samples);
      b.setCanarySamples(m_.canary_samples);
      b.setTokensPerSecond(m_.tokens_per_s);
      b.setRound(m_.round);
      b.setAttempt(m_.attempt);
      b.setSteps(m_.steps);
      b.setStep(m_.phase == schema::ShadowPhase::TRAINING ? 1 : m_.steps);
      b.setDeclined(m_.declines);
    });
  }

  void take(const msg<schema::Work>& work) {
    const auto w = work.read();
    if (w->isEvaluate() && m_.evaluates) evaluate(w->getEvaluate());
    if (w->isTrain() && w->getTrain().getRound() != m_.round) begin(work);
    if (m_.phase == schema::ShadowPhase::TRAINING && now() >= m_.done_at_ms) {
      m_.update = m_.make_update(deps_.count(m_.task.read()->getTrain().getTrained()));
      m_.phase = schema::ShadowPhase::UPLOADING;
      send_chunk(0, true);
    }
  }

  void begin(const msg<schema::Work>& work) {
    const auto w = work.read();
    const auto t = w->getTrain();
    m_.task = work;
    m_.round = t.getRound();
    m_.steps = t.getSteps();
    m_.parent = t.getParent();
    m_.kept_moments = t.getKeepMoments();
    m_.attempt = 1;
    m_.done_at_ms = now() + static_cast<double>(m_.trains.count());
    if (m_.declines.empty()) m_.phase = schema::ShadowPhase::TRAINING;
  }

  void evaluate(const schema::EvaluateTask::Reader& t) {
    ++m_.evaluated;
    const auto scores = msg<schema::Scores>::build([&](schema::Scores::Builder b) {
      b.setAdapter(deps_.adapter);
      b.setRound(t.getRound());
      b.setCandidate(t.getCandidate());
      b.setReplica(m_.replica);
      b.setSite(m_.site);
      b.setFrom(t.getFrom());
      b.setFailure(m_.fails);
      if (t.getReference()) return measure(t, b);
      auto d = b.initDifferences(t.getCount());
      for (std::uint32_t i = 0; i < t.getCount(); ++i) d.set(i, m_.difference(t.getFrom() + i));
      b.setGuardFrom(t.getGuardFrom());
      auto g = b.initGuard(t.getGuardCount());
      for (std::uint32_t i = 0; i < t.getGuardCount(); ++i) g.set(i, 0.0);
    });
    self_->request(*deps_.aggregator, caf::infinite, scores)
        .then(
            [this](const actors::reply<void>& r) {
              if (!*r) m_.errors.push_back(r->failure().message);
            },
            [](const caf::error&) {});
  }

  void measure(const schema::EvaluateTask::Reader& t, schema::Scores::Builder b) const {
    b.setReference(true);
    auto now = b.initEntropies(t.getCount()), before = b.initEntropiesBefore(t.getCount());
    for (std::uint32_t i = 0; i < t.getCount(); ++i) {
      now.set(i, m_.entropy(t.getFrom() + i));
      before.set(i, m_.entropy_before(t.getFrom() + i));
    }
  }

  msg<schema::UpdateChunk> chunk(std::uint64_t at, bool asks) const {
    const auto bytes = std::as_bytes(std::span(m_.update));
    return msg<schema::UpdateChunk>::build([&](schema::UpdateChunk::Builder b) {
      const auto w = m_.task.read();
      const auto t = w->getTrain();
      auto h = b.initHeader();
      h.setClient(m_.replica);
      h.setRound(m_.round);
      h.setAttempt(m_.attempt);
      h.setAdapter(deps_.adapter);
      h.setBaseDigest(deps_.base_digest);
      h.setParent(t.getParent());
      h.setParentDigest(t.getParentDigest());
      h.setTrained(t.getTrained());
      h.setTokens(m_.tokens);
      h.setValues(m_.update.size());
      h.setDigest(store::digest_of(bytes));
      if (m_.forge) m_.forge(h);
      b.setAt(at);
      if (asks) return;
      const auto part = bytes.subspan(at, std::min(m_.chunk_bytes, bytes.size() - at));
      auto data = b.initData(part.size());
      std::copy(part.begin(), part.end(), reinterpret_cast<std::byte*>(data.begin()));
    });
  }

  void send_chunk(std::uint64_t at, bool asks) {
    self_->request(*deps_.aggregator, caf::infinite, chunk(at, asks))
        .then([this](const actors::reply<msg<schema::UploadPlace>>& r) { placed(r); },
              [](const caf::error&) {});
  }

  void placed(const actors::reply<msg<schema::UploadPlace>>& r) {
    if (m_.phase != schema::ShadowPhase::UPLOADING || m_.silent) return;
    if (*r) {
      const auto place = (**r).read();
      if (!place->getAccepted()) return send_chunk(place->getNext(), false);
      ++m_.accepted;
      m_.phase = schema::ShadowPhase::IDLE;
      return;
    }
    m_.errors.push_back(r->failure().message);
    const auto code = r->failure().code;
    const bool again = code == errc::io || code == errc::overloaded || code == errc::unavailable ||
                       code == errc::corrupt;
    if (!again) m_.phase = schema::ShadowPhase::IDLE;
  }

  self_ptr self_;
  modelled_shadow_deps deps_;
  shadow_model& m_;
};

inline modelled_shadow_actor::behavior_type modelled_shadow_behavior(
    modelled_shadow_actor::pointer self, modelled_shadow_deps deps) {
  auto shadow = std::make_shared<modelled_shadow>(self, std::move(deps));
  self->delayed_send(self, std::chrono::seconds(1), actors::slot_atom::value);
  return {[self, shadow](actors::slot_atom) {
    shadow->turn();
    self->delayed_send(self, std::chrono::seconds(1), actors::slot_atom::value);
  }};
}

}  // namespace collm::testing_support
