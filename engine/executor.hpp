// The engine's torch-free face: what the engine actor drives, and what tests replace by a modelled
// one. Owner: one engine thread. Nothing here locks, logs or knows actors.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "messages/ids.hpp"
#include "messages/result.hpp"

namespace collm::engine {

/// One choice of one request; unique within an engine, given by its driver, never reused.
using sequence_id = std::uint64_t;

/// How the next token is chosen. Neutral values switch a rule off. Order: penalties, temperature,
/// top-k, top-p, min-p, draw.
struct sampling {
  float temperature = 0.0f;  ///< 0: greedy
  std::int32_t top_k = 0;    ///< 0: all
  float top_p = 1.0f;
  float min_p = 0.0f;
  float repetition_penalty = 1.0f;  ///< over prompt and answer (CTRL, arXiv 1909.05858)
  float presence_penalty = 0.0f;    ///< over the answer, OpenAI's definition
  float frequency_penalty = 0.0f;   ///< over the answer, OpenAI's definition
  std::uint64_t seed = 0;  ///< counter-based: token i of a sequence depends on (seed, i) only
  std::int32_t logprobs =
      -1;  ///< -1: none; else this many alternatives beside the chosen token (of the raw softmax)
};

struct sequence_spec {
  sequence_id id = 0;
  std::vector<std::int32_t> prompt;  ///< at least one token
  version_id version;                ///< resident; base: no adapter
  sampling how;
  std::uint32_t max_tokens = 16;
  std::vector<std::string> stops;  ///< stop strings
  bool ignore_eos = false;
  std::uint64_t cache_salt =
      0;  ///< tenant's, from the server: blocks are shared only under the same salt
};

struct token_logprob {
  std::int32_t token = 0;
  float logprob = 0;
};

/// failed: the version's weights gave no finite logits; the emission has no token and its text says
/// why. Neighbours go on.
enum class finish_reason : std::uint8_t { none, stop, length, failed };

/// One new token of one sequence.
struct emission {
  sequence_id id = 0;
  std::int32_t token = 0;
  std::string text;                ///< what became safe to show with this token; may be empty
  float logprob = 0;               ///< of `token`, natural log; valid if asked for
  std::vector<token_logprob> top;  ///< best first
  finish_reason finish = finish_reason::none;  ///< not none: the sequence is over and freed
};

/// What the planner must know about one sequence. Tokens still to be computed = length - computed.
struct sequence_view {
  sequence_id id = 0;
  std::uint32_t prompt_tokens = 0;
  std::uint32_t cached_tokens =
      0;  ///< prompt tokens found in the prefix cache when it was last (re)started
  std::uint32_t length = 0;    ///< prompt + produced tokens
  std::uint32_t computed = 0;  ///< tokens whose KV stands; length - 1 = ready to decode
  std::uint32_t produced = 0;
  std::uint32_t max_tokens = 0;
  std::uint32_t blocks = 0;  ///< KV blocks it holds, shared ones included
};

/// `tokens` further tokens of sequence `id`: 1 = a decode (or the last prompt token), more = a
/// prefill chunk.
struct step_work {
  sequence_id id = 0;
  std::uint32_t tokens = 1;
};

struct cache_view {
  std::uint32_t block_tokens = 16;  ///< tokens of one KV block
  std::uint32_t blocks_total = 0;
  std::uint32_t blocks_free = 0;     ///< immediately or by dropping unreferenced prefix blocks
  std::uint64_t prefix_queries = 0;  ///< prompt tokens looked up
  std::uint64_t prefix_hits = 0;     ///< prompt tokens found
};

/// Bytes, by the ledger's names.
struct memory_view {
  std::uint64_t base_bytes = 0;  ///< the shared mapping, counted once a machine
  std::uint64_t kv_bytes = 0;
  std::uint64_t version_bytes = 0;
  std::uint64_t activation_bytes = 0;
};

/// LoRA factors of one immutable version; made by engine/adapter, opaque here.
class adapter;
using adapter_ptr = std::shared_ptr<const adapter>;

class executor {
 public:
  virtual ~executor() = default;

  // -- versions: resident from load to unload; unload of one that a sequence uses is `conflict`
  virtual result<void> load(const version_id& version, adapter_ptr weights) = 0;
  virtual result<void> unload(const version_id& version) = 0;
  virtual std::vector<version_id> resident() const = 0;

  // -- sequences
  /// Takes a sequence in; holds no KV block but prefix hits. Refuses: version not resident
  /// (not_found), does not fit the model's context or the whole cache (context_length_exceeded).
  virtual result<void> add(sequence_spec spec) = 0;
  /// Ends a sequence at once and frees its blocks. Unknown ids are ignored (it may just have
  /// finished).
  virtual void remove(sequence_id id) = 0;
  /// Frees the blocks of a sequence; it is computed again, to the same bytes, when it is next
  /// planned.
  virtual void preempt(sequence_id id) = 0;

  /// One forward pass over all `work` (each id once). The caller has checked that blocks suffice
  /// (`blocks_needed`). A sequence whose last known token was computed yields one emission.
  virtual result<std::vector<emission>> step(std::span<const step_work> work) = 0;
  /// KV blocks that `tokens` further tokens of `id` would take from the free ones.
  virtual std::uint32_t blocks_needed(sequence_id id, std::uint32_t tokens) const = 0;

  // -- views, in order of admission
  virtual std::vector<sequence_view> sequences() const = 0;
  virtual cache_view cache() const = 0;
  virtual memory_view memory() const = 0;
};

}  // namespace collm::engine
