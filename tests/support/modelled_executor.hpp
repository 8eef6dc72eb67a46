// An executor without a model, for tests of what drives it: the next token is a hash of version
// digest, prompt and position, so an answer shows which version computed it. KV blocks are counted
// as the real one counts them; steps can be made to fail.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/latency_model.hpp"
#include "engine/adapter/adapter.hpp"
#include "engine/executor.hpp"
#include "messages/assert.hpp"

namespace collm::testing_support {

class modelled_executor final : public engine::executor {
 public:
  explicit modelled_executor(std::uint32_t blocks) : blocks_total_(blocks) {}

  std::uint32_t failing_steps = 0;  ///< so many next steps fail
  /// Called with each step's work: lets virtual time pass.
  std::function<void(const coordinator::step_features&)> computes;
  /// Called as a version gives a token, by its digest; false: its logits are not finite.
  std::function<bool(const std::string& digest)> gives;
  /// Whether a version, by its digest, gives neither a token nor an error: its answers do not end.
  std::function<bool(const std::string& digest)> stalls;

  static std::int32_t next_token(const std::string& digest, const std::vector<std::int32_t>& prompt,
                                 std::uint32_t position, std::uint64_t seed) {
    std::uint64_t h = std::hash<std::string>{}(digest) ^ (seed * 0x9e3779b97f4a7c15ull) ^ position;
    for (auto t : prompt) h = (h ^ static_cast<std::uint64_t>(t)) * 1099511628211ull;
    return static_cast<std::int32_t>(h % 1000);
  }

  /// Refuses the digest "unfit", and other weights of a resident version.
  result<void> load(const version_id& v, engine::adapter_ptr w) override {
    if (w->digest == "unfit") return error{errc::bad_request, "made for a model of another shape"};
    const auto known = versions_.try_emplace(v, w).first;
    if (known->second->digest == w->digest) return {};
    return error{errc::conflict, to_string(v) + " is resident with other weights"};
  }
  result<void> unload(const version_id& v) override {
    for (const auto& s : live_) {
      if (s.spec.version == v) return error{errc::conflict, to_string(v) + " is in use"};
    }
    versions_.erase(v);
    return {};
  }
  std::vector<version_id> resident() const override {
    std::vector<version_id> out;
    for (const auto& [id, w] : versions_) out.push_back(id);
    return out;
  }
  result<void> add(engine::sequence_spec spec) override {
    if (!spec.version.is_base() && !versions_.contains(spec.version)) {
      return error{errc::not_found, to_string(spec.version) + " is not resident"};
    }
    const auto length = static_cast<std::uint32_t>(spec.prompt.size());
    live_.push_back({std::move(spec), length, 0, 0, 0});
    return {};
  }
  void remove(engine::sequence_id id) override {
    std::erase_if(live_, [&](const sequence& s) { return s.spec.id == id; });
  }
  void preempt(engine::sequence_id id) override {
    auto& s = at(id);
    s.computed = s.blocks = 0;
  }
  result<std::vector<engine::emission>> step(std::span<const engine::step_work> work) override {
    if (failing_steps > 0) {
      --failing_steps;
      return error{errc::internal, "the modelled step fails"};
    }
    if (computes) computes(features_of(work));
    std::vector<engine::emission> out;
    for (const auto& w : work) advance(w, out);
    for (const auto& e : out) {
      if (e.finish != engine::finish_reason::none) remove(e.id);
    }
    return out;
  }
  std::uint32_t blocks_needed(engine::sequence_id id, std::uint32_t tokens) const override {
    const auto& s = const_cast<modelled_executor*>(this)->at(id);
    const auto total = (s.computed + tokens + 15) / 16;
    return total > s.blocks ? total - s.blocks : 0;
  }
  std::vector<engine::sequence_view> sequences() const override {
    std::vector<engine::sequence_view> out;
    for (const auto& s : live_) {
      out.push_back({s.spec.id, static_cast<std::uint32_t>(s.spec.prompt.size()), 0, s.length,
                     s.computed, s.produced, s.spec.max_tokens, s.blocks});
    }
    return out;
  }
  engine::cache_view cache() const override {
    std::uint32_t used = 0;
    for (const auto& s : live_) used += s.blocks;
    return {16, blocks_total_, blocks_total_ - used, 0, 0};
  }
  engine::memory_view memory() const override { return {}; }

 private:
  struct sequence {
    engine::sequence_spec spec;
    std::uint32_t length, computed, produced, blocks;
  };
  sequence& at(engine::sequence_id id) {
    const auto found = std::find_if(live_.begin(), live_.end(),
                                    [&](const sequence& s) { return s.spec.id == id; });
    COLLM_ASSERT(found != live_.end());
    return *found;
  }
  coordinator::step_features features_of(std::span<const engine::step_work> work) {
    coordinator::step_features f;
    for (const auto& w : work) {
      const auto& s = at(w.id);
      if (s.produced > 0 && w.tokens == 1) {
        f.decodes += 1;
        f.decode_context += s.length;
      } else {
        f.prefill_tokens += w.tokens;
        f.prefill_pairs += double(w.tokens) * s.computed + 0.5 * w.tokens * w.tokens;
      }
    }
    return f;
  }
  void advance(const engine::step_work& w, std::vector<engine::emission>& out) {
    auto& s = at(w.id);
    s.blocks += blocks_needed(w.id, w.tokens);
    s.computed += w.tokens;
    COLLM_ASSERT(s.computed <= s.length && cache().blocks_free <= blocks_total_);
    if (s.computed < s.length) return;
    const auto digest =
        s.spec.version.is_base() ? std::string("base") : versions_.at(s.spec.version)->digest;
    if (stalls && stalls(digest)) {
      s.computed -= w.tokens;  // asked for again in the next step
      return;
    }
    const auto token = next_token(digest, s.spec.prompt, s.produced, s.spec.how.seed);
    ++s.produced;
    ++s.length;
    if (gives && !gives(digest)) {
      out.push_back({w.id, 0, "logit 3 is not finite", 0, {}, engine::finish_reason::failed});
      return;
    }
    const bool last = s.produced == s.spec.max_tokens;
    out.push_back({w.id,
                   token,
                   std::to_string(token) + " ",
                   -1,
                   {},
                   last ? engine::finish_reason::length : engine::finish_reason::none});
  }
  std::uint32_t blocks_total_;
  std::vector<sequence> live_;
  std::map<version_id, engine::adapter_ptr> versions_;
};

}  // namespace collm::testing_support
