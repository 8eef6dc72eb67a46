// One client's update: what it says of itself, where its numbers are read, and what is refused
// before anything of it is summed. Pure; blobs are read through update_source.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "federation/shape.hpp"
#include "federation/strategy.hpp"
#include "messages/result.hpp"

namespace collm::federation {

/// What an update claims, sent before its chunks. A client is a replica with its data shard.
struct update_header {
  std::string client = {};    ///< stable over restarts
  std::uint32_t round = 0;    ///< whose task it answers
  std::uint32_t attempt = 0;  ///< of that task at this client
  std::string adapter = {};
  std::string base_digest = {};    ///< of the frozen base, sha256 hex
  std::uint32_t parent = 0;        ///< version that training began from
  std::string parent_digest = {};  ///< of its factors
  trained_factors trained = trained_factors::both;
  std::int64_t tokens = 0;                ///< trained on; the weight. Negative: refused
  std::uint64_t values = 0;               ///< floats of the update
  std::string digest = {};                ///< of those floats, little-endian, sha256 hex
  std::vector<std::uint32_t> ranks = {};  ///< of its pairs, where they differ from the adapter's
  friend bool operator==(const update_header&, const update_header&) = default;
};

/// Reads the changes (after minus parent) of the trained factors in the order of places(). May be
/// read several times, at any place.
class update_source {
 public:
  virtual ~update_source() = default;
  virtual std::uint64_t count() const = 0;
  /// Fills `out` from place `at`. io or corrupt: the blob cannot be read.
  virtual result<void> read(std::uint64_t at, std::span<float> out) = 0;
};

/// An update that lies in memory.
class memory_source final : public update_source {
 public:
  explicit memory_source(std::vector<float> values) : values_(std::move(values)) {}
  std::uint64_t count() const override { return values_.size(); }
  result<void> read(std::uint64_t at, std::span<float> out) override;

 private:
  std::vector<float> values_;
};

/// What a round accepts.
struct update_terms {
  std::string adapter = {}, base_digest = {};
  std::uint32_t parent = 0;
  std::string parent_digest = {};
  trained_factors trained = trained_factors::both;
  adapter_shape shape = {};
  strategy how;
  double median_norm = 0;  ///< of the updates that the last round accepted; 0: none yet
};

/// The shape of the client's factors: the adapter's with the ranks that the header names.
result<adapter_shape> shape_of(const update_header& h, const adapter_shape& adapter);

/// Refuses by the header alone, before a byte is uploaded: adapter, base, parent, phase, tokens,
/// ranks, size. `staleness`: versions behind; only fedbuff takes more than 0, and at most 10.
/// Duplicates are the round's own check.
result<void> check_header(const update_header& h, const update_terms& terms,
                          std::uint32_t staleness);

/// Reads the whole update once: every number finite and within change_max, the norm at most ten
/// times the median of the last round. Returns the norm ||change||_F.
result<double> check_values(update_source& values, const update_terms& terms);

/// Middle value, the mean of the two middle ones for an even number; 0 for none.
double median_of(std::vector<double> values);

}  // namespace collm::federation
