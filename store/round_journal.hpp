// The journal of federated rounds: what the aggregator writes before a transition is visible. One
// row a record, chained by digests, so that a damaged, missing or exchanged row is named and never
// replayed. The records' own text is federation's. Owner: the aggregator's thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace collm::store {

class round_journal {
 public:
  virtual ~round_journal() = default;
  /// Adds records to the end of a round, all of them or none, durable when it returns.
  virtual result<void> append(const std::string& adapter, std::uint32_t round,
                              const std::vector<std::string>& records) = 0;
  /// All records of a round in their order; none: it was never opened. corrupt: names the row.
  virtual result<std::vector<std::string>> read(const std::string& adapter,
                                                std::uint32_t round) = 0;
  /// Numbers of an adapter's rounds, rising.
  virtual result<std::vector<std::uint32_t>> rounds(const std::string& adapter) = 0;
};

/// Opens or creates `file`; refusals as those of the version store.
result<std::unique_ptr<round_journal>> open_round_journal(const std::filesystem::path& file);

}  // namespace collm::store
