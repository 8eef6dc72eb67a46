// The merge rules of byte-level BPE and the loop that applies them to one piece: O(n log n) time,
// O(n) memory, so a megabyte without a blank is as safe as prose. Immutable after construction;
// scratch belongs to the caller's thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace collm::text {

class merges {
 public:
  static constexpr std::int32_t no_token = -1;

  struct rule {
    std::int32_t left, right, merged;
  };

  /// Working memory, reused from piece to piece.
  struct scratch {
    struct symbol {
      std::int32_t token;  ///< no_token: merged into its left neighbour
      std::uint32_t previous, next;
    };
    std::vector<symbol> symbols;
    std::vector<std::uint64_t>
        queue;  ///< heap of rank << 32 | position: lowest rank first, then leftmost
  };

  /// `rules` best first, pairs distinct. `bytes`: the token of each byte, or no_token.
  merges(const std::array<std::int32_t, 256>& bytes, std::vector<rule> rules);

  /// Appends the tokens of one piece (below 4 GiB). Bytes without a token are left out, as Hugging
  /// Face does when the model has no unknown token.
  void encode(std::string_view piece, scratch& work, std::vector<std::int32_t>& out) const;

  /// The rank of a pair's rule.
  std::optional<std::uint32_t> rank(std::int32_t left, std::int32_t right) const;

 private:
  struct slot {
    std::uint64_t pair;
    std::uint32_t rank;
  };

  void load(std::string_view piece, scratch& work) const;
  void propose(scratch& work, std::uint32_t position) const;
  bool still_holds(const scratch& work, std::uint32_t position, std::uint32_t best) const;
  void apply(scratch& work, std::uint32_t position, std::uint32_t best) const;
  std::size_t home(std::uint64_t pair) const;

  std::array<std::int32_t, 256> bytes_;
  std::vector<rule> rules_;
  std::vector<slot> slots_;  ///< open addressing, at most half full
  unsigned shift_ = 0;
};

}  // namespace collm::text
