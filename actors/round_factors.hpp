// The numbers of an adapter's versions and rounds: where a version's factors are read, a round's
// updates made one. A part of the aggregator; its thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "actors/round_book.hpp"
#include "federation/aggregation.hpp"
#include "messages/msg.hpp"
#include "messages/registry.capnp.h"
#include "store/blob_store.hpp"

namespace collm::actors {

/// Blobs that are being read, at most 64 files open at once, whatever the number of updates: the
/// modes that read many at a time have no larger cohort.
class open_blobs {
 public:
  explicit open_blobs(const store::blob_store& blobs) : blobs_(blobs) {}
  result<store::blob_reader*> get(const std::string& digest);

 private:
  const store::blob_store& blobs_;
  std::deque<std::pair<std::string, std::unique_ptr<store::blob_reader>>> open_;
};

/// A blob's floats, as an update. Its file is opened, and checked, when it is first read.
class blob_source final : public federation::update_source {
 public:
  blob_source(open_blobs& blobs, std::string digest, std::uint64_t count)
      : blobs_(blobs), digest_(std::move(digest)), count_(count) {}
  std::uint64_t count() const override { return count_; }
  result<void> read(std::uint64_t at, std::span<float> out) override;

 private:
  open_blobs& blobs_;
  std::string digest_;
  std::uint64_t count_;
};

struct round_factors_deps {
  federation::adapter_shape shape;
  federation::strategy how;
  std::shared_ptr<store::blob_store> blobs;
  /// Of a version that no round made: initial, or from a PEFT folder.
  std::function<result<std::vector<float>>(const msg<schema::VersionRecord>&)> factors_of;
};

class round_factors {
 public:
  explicit round_factors(round_factors_deps deps) : deps_(std::move(deps)) {}

  /// All factors of a version. not_found, corrupt or io: with what is missing.
  result<std::vector<float>> of(const msg<schema::VersionRecord>& version, const round_book& book);
  /// A round's accepted updates over its parent's factors, but for one client's.
  result<federation::aggregate> sum(const federation::training_round& round,
                                    std::span<const float> parent,
                                    const std::string& without = "") const;
  result<std::string> store(std::span<const float> factors) {
    return deps_.blobs->put(std::as_bytes(factors));
  }
  result<std::vector<float>> stored(const std::string& digest) const;

  struct part {
    std::string digest;       ///< of all the bytes
    std::uint64_t total = 0;  ///< bytes
    std::vector<std::byte> bytes;
  };
  /// A version's bytes from place `at`, at most `count` of them. The three versions that were
  /// opened last stay open, so that the file of each is checked once.
  result<part> read(const msg<schema::VersionRecord>& version, const round_book& book,
                    std::uint64_t at, std::uint64_t count);

 private:
  struct opened {
    std::uint32_t number = 0;
    std::string version_digest, digest;
    store::blob_reader blob;
  };
  result<std::string> blob_of(const msg<schema::VersionRecord>& version, const round_book& book);
  result<opened*> open(const msg<schema::VersionRecord>& version, const round_book& book);

  round_factors_deps deps_;
  std::deque<opened> opened_;
};

}  // namespace collm::actors
