// How an adapter's rounds learn together: what each round trains, how updates are weighed and made
// one. Pure values; the work is in aggregation.hpp, the course of a round in round.hpp.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "federation/shape.hpp"
#include "messages/result.hpp"

namespace collm::federation {

enum class aggregate_mode : std::uint8_t {
  fedavg,    ///< both factors averaged apart: biased, for mean(B) mean(A) is not mean(B A)
  ffa,       ///< A frozen, the same everywhere; exact (FFA-LoRA)
  rolora,    ///< B alone and A alone in turns; exact in each (RoLoRA, arXiv 2502.01755)
  stack_svd  ///< the sum of products, cut to the rank by SVD; any ranks (after FLoRA, 2409.05976)
};
inline constexpr std::array aggregate_modes = {aggregate_mode::fedavg, aggregate_mode::ffa,
                                               aggregate_mode::rolora, aggregate_mode::stack_svd};
std::string_view to_string(aggregate_mode m);
/// The mode of that name, if there is one.
std::optional<aggregate_mode> aggregate_mode_of(std::string_view name);

enum class robust_rule : std::uint8_t { none, trimmed_mean, median };

struct strategy {
  aggregate_mode aggregate = aggregate_mode::rolora;
  double prox_mu = 0;  ///< the trainer's: loss + mu/2 |W - parent|^2 (FedProx)
  bool fedbuff =
      false;  ///< a round closes at the quorum; late updates enter the next, weighed less
  robust_rule robust = robust_rule::none;
  std::uint32_t trim = 1;          ///< trimmed_mean drops so many on either side
  std::uint32_t phase_rounds = 1;  ///< rolora: rounds of one phase

  /// A running sum serves: memory at the head does not depend on the number of updates.
  bool linear() const {
    return aggregate != aggregate_mode::stack_svd && robust == robust_rule::none;
  }
};

inline constexpr std::uint32_t staleness_max = 10;      ///< versions behind; later ones are refused
inline constexpr std::uint32_t updates_max = 8192;      ///< of one round, linear modes
inline constexpr std::uint32_t cohort_max = 64;         ///< of one round, the others
inline constexpr std::uint32_t samples_max = 1u << 20;  ///< tokens of one update count up to this

/// What may not go together, told before anything starts: fedbuff with stack_svd or with a robust
/// rule (they are unweighted), a robust rule with fedavg or stack_svd (a coordinate means something
/// only while the other factor is frozen), unequal ranks without stack_svd.
result<void> check(const strategy& s, bool unequal_ranks);

/// What a round trains. `phase`: of rolora, counted from 0; even phases train B, for at B = 0 the
/// other factor has no gradient.
trained_factors trained_in(const strategy& s, std::uint32_t phase);

/// W_u = round(16 n (1 + staleness)^-1/2), 0 for an update without tokens (form: FedBuff). Tokens
/// beyond samples_max count as samples_max.
std::int64_t update_weight(std::uint64_t tokens, std::uint32_t staleness);

}  // namespace collm::federation
