// An update on its way in: its header is checked before a byte is stored, its bytes before it
// counts. A part of the aggregator; its thread.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "actors/round_book.hpp"
#include "federation/update.hpp"
#include "messages/adaptation.capnp.h"
#include "store/blob_store.hpp"

namespace collm::actors {

/// What every round of the adapter asks of an update.
struct intake_terms {
  std::string adapter, base_digest;
  federation::adapter_shape shape;
  federation::strategy how;
};

class update_intake {
 public:
  update_intake(intake_terms terms, std::shared_ptr<store::blob_store> blobs)
      : terms_(std::move(terms)), blobs_(std::move(blobs)) {}

  struct place {
    std::uint64_t next = 0;
    bool accepted = false;
  };
  /// Digests of updates that are on their way.
  std::set<std::string> coming() const;

  /// One chunk, or the question where to go on. A refusal that is the update's own fault is
  /// journalled with its reason and holds for the round; an accepted one may come again and counts
  /// once. conflict: the round takes none any more; unavailable: between two rounds (fedbuff);
  /// overloaded: no room.
  result<place> take(const federation::update_header& header, std::uint64_t at,
                     std::span<const std::byte> data, round_book& book, double now_ms);

 private:
  struct task {
    federation::update_terms terms;
    std::uint32_t staleness = 0;
  };
  bool counts_already(const federation::update_header& h, const round_book& book) const;
  result<void> may_come(const federation::update_header& h, const round_book& book) const;
  result<task> task_of(const federation::update_header& h, const round_book& book) const;
  result<void> one_at_a_time(const federation::update_header& h);
  result<place> finish(const federation::update_header& h, const task& t, round_book& book,
                       double now_ms);
  error refused(const federation::update_header& h, const error& why, round_book& book,
                double now_ms) const;

  intake_terms terms_;
  std::shared_ptr<store::blob_store> blobs_;
  std::map<std::string, std::string> coming_;  ///< client → digest of its update
};

/// bad_request: a trained half that this release does not know.
result<federation::update_header> header_of(const schema::UpdateHeader::Reader& r);

}  // namespace collm::actors
