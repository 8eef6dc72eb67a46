// The merge rules of BPE and the loop that applies them to one piece: O(n log n) time, O(n) memory,
// so a megabyte without a blank is as safe as prose. Immutable after construction; scratch belongs
// to the caller's thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
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
    std::vector<std::int32_t> letters;  ///< the caller's, for encode()'s first argument
    std::vector<symbol> symbols;
    std::vector<std::uint64_t>
        queue;  ///< heap of rank << 32 | position: lowest rank first, then leftmost
  };

  /// `rules` best first, pairs distinct.
  explicit merges(std::vector<rule> rules);

  /// Appends what the tokens `letters` (fewer than 2^32 - 1) of one piece become.
  void encode(std::span<const std::int32_t> letters, scratch& work,
              std::vector<std::int32_t>& out) const;

  /// The rank of a pair's rule.
  std::optional<std::uint32_t> rank(std::int32_t left, std::int32_t right) const;

 private:
  void load(std::span<const std::int32_t> letters, scratch& work) const;
  void propose(scratch& work, std::uint32_t position) const;
  bool still_holds(const scratch& work, std::uint32_t position, std::uint32_t best) const;
  void apply(scratch& work, std::uint32_t position, std::uint32_t best) const;
  std::size_t home(std::int32_t left, std::int32_t right) const;

  std::vector<rule> rules_;
  std::vector<std::uint32_t> slots_;  ///< ranks; open addressing, at most half full
  unsigned shift_ = 0;
};

}  // namespace collm::text
