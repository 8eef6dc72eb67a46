// The Prometheus families of one process, names and buckets as vLLM's users know them
// (docs/METRICS.md). Owner: telemetry.
#pragma once

#include <memory>
#include <string>

#include "actors/interfaces.hpp"
#include "actors/meter.hpp"

namespace collm::actors {

class metrics {
 public:
  /// `model`: label model_name of every series. `adapters_max`: above so many adapter names the
  /// label becomes "other".
  metrics(std::string model, std::size_t adapters_max);
  ~metrics();
  void observe(const request_outcome& o, double ttft_slo_ms, double tpot_slo_ms);
  void observe(const replica_report& r);
  void observe(const std::vector<meter_ptr>& meters);
  std::string text() const;  ///< exposition format 0.0.4

 private:
  void observe_training(const replica_report& r);
  struct impl;
  std::unique_ptr<impl> impl_;
};

}  // namespace collm::actors
