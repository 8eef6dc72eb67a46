// The torch-free face of training: what the adapter shadow drives, and what tests replace by a
// modelled one. A trainer owns the trainable copy of one adapter (a shadow) with its optimizer, and
// splits every batch into units, so that serving can go between any two of them. It never computes
// outside run(), draws no random numbers, reads no clock and no file. Owner: one engine thread.
//
// Bit law of training: on an int8 base the same parent, options and batches give the same factors,
// byte for byte, whatever runs between units, with any number of threads and on every instruction
// path, also over checkpoint and resume.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/executor.hpp"

namespace collm::engine {

/// Which factors a batch changes: `b_only` for ffa and rolora's first phase, `a_only` for its
/// second. The others stay as the parent has them.
enum class trained_factors : std::uint8_t { both, a_only, b_only };

/// What becomes of the learning rate after warm-up; cosine falls to 0 at `total_steps`.
enum class rate_schedule : std::uint8_t { constant, cosine };

struct training_options {
  float learning_rate = 1e-3f;
  std::uint32_t warmup_steps = 10;  ///< step s <= warmup runs at rate * s / warmup
  rate_schedule schedule = rate_schedule::constant;
  std::uint32_t total_steps = 0;  ///< cosine needs it; 0 otherwise
  float clip = 1.0f;              ///< largest global norm of the gradients; 0: none
  float weight_decay = 0.0f;      ///< AdamW's, decoupled (arXiv 1711.05101)
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
  float lora_plus_ratio = 1.0f;  ///< rate of B over rate of A (LoRA+, arXiv 2402.12354)
  trained_factors factors = trained_factors::both;
  float prox_mu = 0.0f;  ///< FedProx: loss + mu/2 |W - W_parent|^2 over the trained factors; 0: off

  std::uint32_t rank = 0;  ///< trains the parent's first directions alone; 0: all of them

  std::uint32_t batch_tokens = 1024;  ///< most tokens of one batch
  std::uint32_t sample_tokens = 512;  ///< most tokens of one sample: sets the activation bytes
  /// Most rows of a layer's unit, a multiple of 16: 256 are 3 % faster a row, and twice as long for
  /// who waits (docs/adr/0006).
  std::uint32_t window_tokens = 128;
  std::uint32_t head_tokens = 64;  ///< most rows of a loss_head unit; a multiple of 4
  std::uint32_t threads = 1;       ///< OpenMP threads of a unit
};

/// One text. The loss is over tokens[prompt_tokens..]; the prompt is only read.
struct training_sample {
  std::vector<std::int32_t> tokens;  ///< two or more
  std::uint32_t prompt_tokens = 1;   ///< 1 to tokens.size() - 1
};

/// The indivisible pieces of work; the planner keeps a table of measured times by kind and tokens.
enum class unit_kind : std::uint8_t { layer_forward, layer_backward, loss_head, optimizer_step };
inline constexpr std::size_t unit_kinds_count = 4;

struct training_unit {
  unit_kind kind = unit_kind::layer_forward;
  std::uint32_t tokens = 0;  ///< rows computed; of loss_head: rows with a loss; of the step: 0
};

/// A batch that reached the optimizer.
struct batch_report {
  std::uint64_t step = 0;    ///< optimizer steps so far, this one included; from 1
  double loss = 0;           ///< mean cross entropy of a completion token, nats; without prox
  double gradient_norm = 0;  ///< global, before clipping, prox included
  float learning_rate = 0;   ///< of A; B's is `lora_plus_ratio` times it
  std::uint32_t samples = 0, tokens = 0, completion_tokens = 0;
};

/// One sample's part of an evaluation.
struct sequence_score {
  double cross_entropy = 0;  ///< mean over its completion tokens, nats
  std::uint32_t completion_tokens = 0;
  /// At every place the reference's token is the most likely one: greedy decoding would write it.
  bool exact = false;
};

/// What a unit completed; both empty in the middle of a batch.
struct unit_report {
  std::optional<batch_report> batch;
  std::optional<std::vector<sequence_score>> scores;  ///< in the order of the samples
};

/// One matrix of an adapter. B is [out, rank], A is [rank, in]; row-major.
struct factor {
  std::string name;  ///< "layers.3.q.A"
  std::uint32_t rows = 0, columns = 0;
  bool is_b = false;
  std::span<const float> values;
};

/// Bytes of a trainer, by what they are for; sizes of what it may hold at most, known before it is
/// made.
struct training_memory {
  std::uint64_t factors = 0;    ///< the shadow's A and B, also transposed, and the parent for prox
  std::uint64_t optimizer = 0;  ///< gradients and both moments
  std::uint64_t activations = 0;
  std::uint64_t total() const { return factors + optimizer + activations; }
};

class trainer {
 public:
  virtual ~trainer() = default;

  // -- work; a new batch or evaluation only when next() is empty, else `conflict`
  /// Takes a batch in. Samples are packed whole, never padded; their order is the caller's.
  /// bad_request: no sample, too many or too long (batch_tokens, sample_tokens, the model's
  /// context), a token outside the vocabulary, a prompt that leaves no completion.
  virtual result<void> begin_batch(std::vector<training_sample> samples) = 0;
  /// Scores samples with `version`, or with the shadow as it stands if null. No bound on their
  /// number here; the same refusals otherwise, and a version with larger ranks than the parent's.
  virtual result<void> begin_evaluation(std::vector<training_sample> samples,
                                        adapter_ptr version) = 0;
  /// Drops the batch or evaluation in progress: the shadow stands as at the last border.
  virtual void abandon() = 0;
  /// The unit that run() will do; nullopt: nothing is in progress.
  virtual std::optional<training_unit> next() const = 0;
  /// Does exactly that unit. A batch with a loss or gradient that is no finite number ends with
  /// `bad_request` and is dropped; the factors have not changed.
  virtual result<unit_report> run() = 0;

  // -- the shadow, at batch borders; within a batch as at the last border
  /// All factors in one fixed order: by layer, then target (q k v o gate up down), A before B. The
  /// spans stay until the trainer ends, their numbers until the next optimizer step.
  virtual std::vector<factor> factors() const = 0;
  /// The shadow as an immutable version with the same numbers.
  virtual adapter_ptr snapshot() const = 0;
  /// Starts anew from another version of the parent's shape, as a new round does: factors become
  /// its first options.rank directions; moments and step counters stay. `conflict` within a batch.
  virtual result<void> rebase(adapter_ptr parent, trained_factors which) = 0;
  /// Factors, moments and counters (there is no random state), bound to base, shape, options and
  /// parent. Only at batch borders: `conflict` otherwise.
  virtual result<std::vector<std::uint8_t>> checkpoint() const = 0;
  /// Continues a checkpoint bit for bit. `corrupt` or `conflict` (another base, parent, shape or
  /// options) names what differs, and the trainer stays as it was.
  virtual result<void> resume(std::span<const std::uint8_t> checkpoint) = 0;
  /// Of a checkpoint of whichever parent and trained half only the moments and counters: as if this
  /// trainer had stood there and was rebased. The factors stay. Refusals as resume's.
  virtual result<void> take_moments(std::span<const std::uint8_t> checkpoint) = 0;

  // -- views
  virtual std::uint64_t steps() const = 0;
  virtual training_memory declared() const = 0;  ///< most it will ever hold
  virtual training_memory used() const = 0;      ///< what it holds now
};

}  // namespace collm::engine
