// Factors of versions that rounds made, from the head in chunks: checked by the digest of their
// bytes and by the version's own. A part of the node actor; its thread.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "actors/node.hpp"

namespace collm::actors {

class factors_fetch {
 public:
  using self_ptr = local_node_actor::stateful_pointer<node_state>;
  using taker = std::function<void(const result<engine::adapter_ptr>&)>;
  factors_fetch(self_ptr self, const node_deps& deps)
      : self_(self), from_(deps.aggregator), with_factors_(deps.with_factors) {}

  /// `digest`: the version's. Several that ask for one at a time share the transfer. unavailable:
  /// the head is away; corrupt, conflict: what came is not that version.
  void get(const version_id& id, const std::string& digest, taker then);

  /// The version of `adapter` with this digest that these bytes are. corrupt, conflict: they are
  /// not.
  result<engine::adapter_ptr> version_of(const std::string& adapter, const std::string& digest,
                                         std::span<const std::byte> bytes) const;

 private:
  struct transfer {
    version_id id;
    std::string bytes_digest;
    std::vector<std::byte> bytes;
    std::vector<taker> waiting;
  };
  void next_chunk(const std::string& digest);
  void take(const std::string& digest, const msg<schema::FactorsChunk>& chunk);
  void end(const std::string& digest, const result<engine::adapter_ptr>& outcome);

  self_ptr self_;
  aggregator_actor from_;
  std::function<result<engine::adapter_ptr>(const std::string&, const std::vector<float>&)>
      with_factors_;
  std::map<std::string, transfer> coming_;  ///< by the version's digest
  std::vector<engine::adapter_ptr> kept_;   ///< the last few that came
};

}  // namespace collm::actors
