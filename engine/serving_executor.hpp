// The executor over a real model: continuous batching with paged KV, prefix reuse, preemption by
// recomputation, and versions that stay while a sequence uses them. In int8 what a sequence says
// depends on its spec and version alone. Engine thread only.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/kv_storage.hpp"
#include "engine/model/model.hpp"
#include "engine/model/team.hpp"
#include "engine/sample/sampler.hpp"
#include "engine/sequence.hpp"
#include "text/tokenizer.hpp"

namespace collm::engine {

class serving_executor final : public executor {
 public:
  struct parts {
    base_ptr weights;
    executor_options options;
    std::shared_ptr<const text::tokenizer> tokens;
    std::unique_ptr<model> forward;
    kv_storage kv;
  };
  explicit serving_executor(parts p);

  result<void> load(const version_id& version, adapter_ptr weights) override;
  result<void> unload(const version_id& version) override;
  std::vector<version_id> resident() const override;

  result<void> add(sequence_spec spec) override;
  void remove(sequence_id id) override;
  void preempt(sequence_id id) override;

  result<std::vector<emission>> step(std::span<const step_work> work) override;
  std::uint32_t blocks_needed(sequence_id id, std::uint32_t tokens) const override;

  std::vector<sequence_view> sequences() const override;
  cache_view cache() const override;
  memory_view memory() const override;

 private:
  struct resident_version {
    adapter_ptr weights;
    std::uint32_t users = 0;  ///< sequences that compute with it: the pin
  };
  /// One planned sequence of the present step.
  struct planned {
    sequence* of;
    std::uint32_t end;  ///< tokens asked for, then those whose KV stands after the step
  };

  sequence* find(sequence_id id) const;
  result<void> check_spec(const sequence_spec& spec) const;
  result<void> check_fit(const sequence_spec& spec) const;
  result<void> check_work(std::span<const step_work> work) const;
  result<void> check_adapter(const version_id& version, const adapter& weights) const;
  void start(sequence& s);
  void take_hits(sequence& s, std::uint32_t end);
  void cover(sequence& s, std::uint32_t end);
  void plan(std::span<const step_work> work);
  segment rows_of(const sequence& s, std::uint32_t end) const;
  result<std::span<const float>> run_forward();
  void publish_full_blocks(sequence& s);
  void choose(std::span<const float> logits);
  emission next_token(sequence& s, result<choice> chosen);
  void say(sequence& s, emission& e);
  void drop(sequence& s);
  void forget_finished(std::span<const emission> emissions);
  void mark(phase p) const {
    if (options_.clock != nullptr) options_.clock->mark(p);
  }
  bool ends_text(std::int32_t token) const;
  std::uint32_t blocks_for(std::uint64_t tokens) const;

  // constant after construction
  base_ptr base_;
  executor_options options_;
  std::shared_ptr<const text::tokenizer> tokens_;
  std::vector<std::int32_t> end_tokens_;

  // engine thread only
  std::unique_ptr<model> model_;
  kv_storage kv_;
  prefix_cache cache_;
  std::vector<sampler> samplers_;  ///< one a member of the team
  meeting_point point_;
  std::map<version_id, resident_version> versions_;
  std::vector<std::unique_ptr<sequence>> sequences_;  ///< in order of admission
  std::vector<planned> planned_;                      ///< of this step, memory reused
  std::vector<segment> segments_;
  std::vector<sequence*> speaking_;  ///< those that get a token in this step, and their tokens
  std::vector<std::optional<result<choice>>> chosen_;
  std::uint64_t prefix_queries_ = 0, prefix_hits_ = 0;
};

}  // namespace collm::engine
