// How long a training unit takes: a table of measured times by kind and tokens, with a margin for
// each kind. Pure; owner: one engine. A unit's position in its window (its KV offset) is no column:
// what it adds stays inside the margin.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "messages/result.hpp"

namespace collm::coordinator {

/// The indivisible pieces of training, in the engine's order. An evaluation is forwards and loss
/// heads.
enum class unit_kind : std::uint8_t {
  layer_forward,
  layer_backward,
  loss_head,
  optimizer_step  ///< its tokens are 0
};
inline constexpr std::size_t unit_kinds_count = 4;
std::string_view to_string(unit_kind k);

/// One unit that ran.
struct measured_unit {
  unit_kind kind = unit_kind::layer_forward;
  std::uint32_t tokens = 0;
  double ms = 0;
};

/// Most rows of a unit: of a layer's, and of the loss head's, which costs the vocabulary each row.
struct unit_sizes {
  std::uint32_t window_tokens = 256, head_tokens = 32;
  friend bool operator==(const unit_sizes&, const unit_sizes&) = default;
};

/// The engine's rows of a layer come by 16, those of a loss head by 4.
inline constexpr std::uint32_t window_step = 16, head_step = 4;
/// Half as many in whole steps, and not fewer than one.
std::uint32_t half_rows(std::uint32_t rows, std::uint32_t step);

class unit_times {
 public:
  /// Tokens of the table's columns; linear between them, level below the first, proportional to the
  /// tokens above the last.
  static constexpr std::array<std::uint32_t, 8> columns = {4, 8, 16, 32, 64, 128, 256, 512};

  struct options {
    double gain = 0.05;    ///< of one measurement on the table
    double margin = 0.05;  ///< start value of every kind's M
    double margin_gain = 0.02;
    double margin_target = 0.05;  ///< share of units allowed above the bound
  };
  explicit unit_times(const options& o) : options_(o) { margins_.fill(o.margin); }

  /// One measurement. The first of a kind sets its row (level to its left, proportional to its
  /// right; up to 16 tokens what they share counts more, so level there, too); the first at or
  /// above a column that none has reached sets that column. Non-finite or non-positive times are
  /// refused (false) and change nothing.
  bool observe(const measured_unit& unit);

  bool known(unit_kind kind) const { return reached_[index(kind)] > 0; }
  double mean_ms(unit_kind kind, std::uint32_t tokens) const;
  /// t_up = t (1 + max(0, M_kind)); infinity while the kind was never measured.
  double bound_ms(unit_kind kind, std::uint32_t tokens) const;
  double margin(unit_kind kind) const { return margins_[index(kind)]; }

  /// The largest units that `unit_max_ms` bounds: `most`, either part halved until it fits, never
  /// under one step. What does not fit even there is refused by name (conflict), as is a
  /// kind that was never measured.
  result<unit_sizes> sizes_for(double unit_max_ms, unit_sizes most) const;
  /// u_max, ms: the longest bound of any unit of these sizes.
  double longest_ms(unit_sizes sizes) const;

 private:
  using row = std::array<double, columns.size()>;
  static std::size_t index(unit_kind k) { return static_cast<std::size_t>(k); }
  static void keep_rising(row& t, std::size_t left, std::size_t right);
  bool begin_row(const measured_unit& unit);
  error too_long(unit_kind kind, std::uint32_t tokens, double unit_max_ms) const;

  options options_;
  std::array<row, unit_kinds_count> table_{};              ///< ms
  std::array<double, unit_kinds_count> margins_{};         ///< M
  std::array<std::uint32_t, unit_kinds_count> reached_{};  ///< columns set by a measurement
};

}  // namespace collm::coordinator
