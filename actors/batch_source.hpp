// Batches of a site's examples in an order that follows from the data and a cursor alone: every
// epoch has its own order over the training set. A part of the adapter shadow; its thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "engine/training.hpp"
#include "store/site_data.hpp"

namespace collm::actors {

/// The first sample that is not used up yet.
struct data_cursor {
  std::uint32_t epoch = 0, place = 0;
  friend bool operator==(const data_cursor&, const data_cursor&) = default;
};

class batch_source {
 public:
  using encoder = std::function<result<engine::training_sample>(const store::site_row&)>;
  batch_source(std::string adapter, std::uint32_t batch_tokens, encoder encode)
      : adapter_(std::move(adapter)), batch_tokens_(batch_tokens), encode_(std::move(encode)) {}

  void seek(data_cursor at);
  data_cursor cursor() const { return waiting_.empty() ? next_ : waiting_.front().at; }

  /// What must be read before a batch can be made: `rows_wanted` rows of the training set in the
  /// order of `key` from place `first`.
  struct wanted {
    std::string key;
    std::uint32_t first = 0, count = 0;
  };
  static constexpr std::uint32_t rows_wanted = 64;
  bool ready() const;
  wanted want() const;
  /// The answer. not_found: a whole epoch had no sample that can be trained on; its message says
  /// why.
  result<void> give(const std::vector<store::site_row>& rows);
  /// The next samples, together at most `batch_tokens`; at least one. Only if ready().
  std::vector<engine::training_sample> take();

 private:
  struct placed_sample {
    data_cursor at;
    engine::training_sample sample;
  };
  std::string adapter_;
  std::uint32_t batch_tokens_;
  encoder encode_;
  std::deque<placed_sample> waiting_;
  data_cursor next_;                    ///< of the first row that was not read yet
  std::uint32_t taken_this_epoch_ = 0;  ///< samples that could be encoded
  std::string last_fault_;              ///< of a row that could not
};

}  // namespace collm::actors
