// From samples to rows: which samples are computed together (a pass), and which rows one unit takes
// (a window). Pure; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/engine.hpp"

namespace collm::engine {

inline constexpr std::int32_t no_target = -1;

/// One token that is read. The last token of a sample is only predicted, so it has no row.
struct training_row {
  std::int32_t token = 0;
  std::int32_t target = no_target;  ///< the token to predict here; no_target within the prompt
  std::uint32_t position = 0;       ///< within its sample
};

/// Rows [first, first + count) of a pass: one whole sample.
struct sample_rows {
  std::uint32_t index = 0;  ///< of the sample within its batch
  std::uint32_t first = 0, count = 0;
};

/// Some of a window's rows that have a target, counted among those.
struct loss_rows {
  std::uint32_t first = 0, count = 0;
};

struct row_window {
  std::uint32_t first = 0, count = 0, losses = 0;
};

/// Either samples that fit one window together, or one longer sample with as many windows as it
/// takes. Activations of one pass are held at a time.
struct training_pass {
  std::vector<training_row> rows;
  std::vector<sample_rows> samples;
  std::vector<row_window> windows;
};

/// What one unit of a layer computes.
struct unit_place {
  std::uint32_t layer = 0;
  const training_pass* pass = nullptr;
  row_window window;
};

/// Refuses, by the sample's number, what a trainer of these options cannot take. `batch_tokens` 0:
/// any number of tokens.
result<void> check_samples(std::span<const training_sample> samples, const model_shape& shape,
                           const training_options& options, std::uint32_t batch_tokens);

/// Samples in their order, whole, never padded.
std::vector<training_pass> pack_samples(std::span<const training_sample> samples,
                                        std::uint32_t window_tokens);

}  // namespace collm::engine
