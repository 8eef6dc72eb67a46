// Cross entropies that a shadow has measured, by version and sample: a serving version is judged
// against one candidate after the other, on samples that come again. Pure.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/training.hpp"

namespace collm::actors {

struct named_sample {
  std::string id;
  engine::training_sample sample;
};
using named_samples = std::shared_ptr<const std::vector<named_sample>>;

class score_book {
 public:
  /// Of `all`, what was not scored with this version yet.
  std::vector<named_sample> missing(const std::string& version, const named_samples& all) const;
  void note(const std::string& version, const std::vector<named_sample>& samples,
            const std::vector<engine::sequence_score>& scores);
  /// All of them have been scored.
  std::vector<double> of(const std::string& version, const named_samples& all) const;

 private:
  using by_sample = std::unordered_map<std::string, double>;
  const by_sample* find(const std::string& version) const;
  std::vector<std::pair<std::string, by_sample>> known_;  ///< the oldest first
};

}  // namespace collm::actors
