// Attention over paged keys and values, written once over lanes. A (row, head) pair's bytes depend
// on its own query and the positions up to its row only: scores are summed over head_dim in order,
// the softmax and the weighted sum over positions in order, and positions after the row are
// left out. Included by kernels_<path>.cpp after lanes.hpp.
#pragma once

#include <limits>
#include <utility>

#include "engine/kernels/kernels.hpp"
#include "engine/kernels/lanes.hpp"
#include "engine/kernels/unroll.hpp"

namespace collm::engine {
namespace {

// Loops over sums must be unrolled, or GCC 12 stores every sum in every round (measured: twice the
// time).
#if defined(__AVX2__) && !defined(__AVX512F__)  // sixteen registers, two for each of the lanes
constexpr std::uint32_t pairs_together = 6, sums_together = 6;
#else
constexpr std::uint32_t pairs_together = attention_queries, sums_together = 16;
#endif

/// One tile of up to pairs_together (row, head) pairs.
struct attention_tile {
  const attention_task* task;
  std::uint32_t first = 0, count = 0;  ///< pairs of the task, pair = row * group + head
  std::uint32_t blocks = 0;            ///< covering the tile's last row
  float *queries, *weights;            ///< [count][head_dim], [count][blocks * block_positions]
  float totals[pairs_together];        ///< softmax denominators

  std::uint32_t visible(std::uint32_t i) const {
    return task->position + (first + i) / task->group + 1;
  }
  /// First position that pair i sees.
  std::uint32_t oldest(std::uint32_t i) const {
    return task->window == 0 || visible(i) < task->window ? 0 : visible(i) - task->window;
  }
  /// No pair of the tile sees a block before this one.
  std::uint32_t first_block() const { return oldest(0) / block_positions; }
  std::size_t weights_stride() const { return std::size_t{blocks} * block_positions; }
};

void scale_queries(attention_tile& tile) {
  const auto& t = *tile.task;
  const lanes factor = lanes::all(1.0f / std::sqrt(static_cast<float>(t.head_dim)));
  for (std::uint32_t i = 0; i < tile.count; ++i) {
    const std::uint32_t pair = tile.first + i;
    const float* q = t.q + pair / t.group * t.q_stride + std::size_t{pair % t.group} * t.head_dim;
    float* to = tile.queries + std::size_t{i} * t.head_dim;
    over_lanes(t.head_dim, [&](std::uint32_t d, std::uint32_t n) {
      store_some(load_some(q + d, n) * factor, to + d, n);
    });
  }
}

/// The page of one block.
template <class Number>
const Number* page(const attention_task& t, const void* first, std::uint32_t block) {
  return static_cast<const Number*>(first) + t.blocks[block] * t.block_stride;
}

// Pages lie apart, so each is asked for by hand while those before it are computed: the task's
// keys, then its values, then the next task's keys. They are asked into the second cache: the first
// one's few open misses (24 lines on Zen 4) would hold the rate at half of memory's (measured: 12
// GB/s beside 17).
constexpr std::uint32_t pages_ahead = 8;

inline void ask_for(const void* line) { __builtin_prefetch(line, 0, 2); }

/// Keys of the `index`-th block that the next task reads; without one, any address that is mapped.
template <class Number>
const Number* next_keys(const attention_task& t, std::uint32_t index) {
  if (t.next == nullptr) return static_cast<const Number*>(t.keys);
  const std::uint32_t block = t.next->first_block() + index;
  return page<Number>(*t.next, t.next->keys,
                      block < t.next->blocks_seen() ? block : t.next->first_block());
}

template <class Number>
const Number* values_or_next(const attention_tile& tile, std::uint32_t block) {
  const auto& t = *tile.task;
  return block < tile.blocks ? page<Number>(t, t.values, block)
                             : next_keys<Number>(t, block - tile.blocks);
}

/// Whether the number at `index` of a row of lanes is the first one of a cache line.
template <class Number>
constexpr bool begins_line(std::uint32_t index) {
  return index * sizeof(Number) % 64 == 0;
}

/// Scores of `Many` blocks from `block` on: many at once only hide latency.
template <class Number, std::uint32_t Count, std::uint32_t Many>
void score_blocks(const attention_tile& tile, std::uint32_t block) {
  const auto& t = *tile.task;
  const Number *keys[Many], *ahead[Many];
  for (std::uint32_t m = 0; m < Many; ++m) {
    keys[m] = page<Number>(t, t.keys, block + m);
    const std::uint32_t next = block + pages_ahead + m;
    ahead[m] = next < tile.blocks
                   ? page<Number>(t, t.keys, next)
                   : values_or_next<Number>(tile, tile.first_block() + next - tile.blocks);
  }
  lanes total[Count][Many];
  COLLM_UNROLL for (std::uint32_t i = 0; i < Count; ++i)
      COLLM_UNROLL for (std::uint32_t m = 0; m < Many; ++m) total[i][m] = lanes::all(0);
  for (std::uint32_t d = 0; d < t.head_dim; ++d) {
    const std::size_t at = std::size_t{d} * block_positions;
    lanes k[Many];
    COLLM_UNROLL for (std::uint32_t m = 0; m < Many; ++m) {
      if (begins_line<Number>(d * block_positions)) ask_for(ahead[m] + at);
      k[m] = lanes::load(keys[m] + at);
    }
    COLLM_UNROLL for (std::uint32_t i = 0; i < Count; ++i) {
      const lanes q = lanes::all(tile.queries[std::size_t{i} * t.head_dim + d]);
      COLLM_UNROLL for (std::uint32_t m = 0; m < Many; ++m) total[i][m] = fma(q, k[m], total[i][m]);
    }
  }
  COLLM_UNROLL for (std::uint32_t i = 0; i < Count;
                    ++i) COLLM_UNROLL for (std::uint32_t m = 0; m < Many; ++m) total[i][m]
      .store(tile.weights + i * tile.weights_stride() + std::size_t{block + m} * block_positions);
}

/// Scores to unnormalised weights exp(score - largest); 0 beyond the row and before its window.
void weigh(attention_tile& tile, std::uint32_t i) {
  const std::uint32_t base = tile.first_block() * block_positions;
  float* w = tile.weights + i * tile.weights_stride() + base;
  const std::uint32_t seen = tile.visible(i) - base, hidden = tile.oldest(i) - base;
  for (std::uint32_t p = 0; p < hidden; ++p) w[p] = -std::numeric_limits<float>::infinity();
  lanes most = lanes::all(w[hidden]);
  over_lanes(seen, [&](std::uint32_t p, std::uint32_t n) {
    if (n == lane_count)
      most = max(lanes::load(w + p), most);
    else
      for (std::uint32_t j = 0; j < n; ++j) most = max(lanes::all(w[p + j]), most);
  });
  const lanes peak = lanes::all(largest(most));
  lanes total = lanes::all(0);
  over_lanes(seen, [&](std::uint32_t p, std::uint32_t n) {
    const lanes e = exponential(load_some(w + p, n) - peak);
    for (std::uint32_t j = n; j < lane_count; ++j) w[p + j] = 0;
    store_some(e, w + p, n);
    total = total + (n == lane_count ? e : lanes::load(w + p, n));
  });
  for (std::size_t p = (seen + lane_count - 1) / lane_count * lane_count;
       p < tile.weights_stride() - base; ++p)
    w[p] = 0;
  tile.totals[i] = sum(total);
}

/// Values of one block's first `count` positions times weights. An edge is a block of which not all
/// pairs see all positions: a weight of 0 is not enough there, for 0 * infinity is no number.
template <class Number, std::uint32_t Count, std::uint32_t Wide, bool Edge>
COLLM_TILE void blend_block(const attention_tile& tile, std::uint32_t first, std::uint32_t count,
                            const Number* values, const Number* ahead, std::uint32_t n,
                            const std::uint32_t (&oldest)[Count],
                            const std::uint32_t (&seen)[Count], lanes (&total)[Count][Wide]) {
  const std::size_t stride = tile.weights_stride();
  const std::uint32_t dim = tile.task->head_dim;
  const float* weights = tile.weights + first;
  for (std::uint32_t p = 0; p < count; ++p, values += dim, ahead += dim) {
    lanes v[Wide];
    COLLM_UNROLL for (std::uint32_t j = 0; j < Wide; ++j) {
      if (begins_line<Number>(j * lane_count)) ask_for(ahead + std::size_t{j} * lane_count);
      v[j] = Wide == 1 ? load_some(values, n) : lanes::load(values + std::size_t{j} * lane_count);
    }
    COLLM_UNROLL for (std::uint32_t i = 0; i < Count; ++i) {
      if (Edge && (first + p < oldest[i] || first + p >= seen[i])) continue;
      const lanes w = lanes::all(weights[i * stride + p]);
      COLLM_UNROLL for (std::uint32_t j = 0; j < Wide; ++j) total[i][j] = fma(w, v[j], total[i][j]);
    }
  }
}

/// Weighted values of `Wide` vectors of head_dim, `n` floats in the last one.
template <class Number, std::uint32_t Count, std::uint32_t Wide>
void blend(const attention_tile& tile, std::uint32_t d, std::uint32_t n) {
  const auto& t = *tile.task;
  lanes total[Count][Wide];
  COLLM_UNROLL for (std::uint32_t i = 0; i < Count; ++i)
      COLLM_UNROLL for (std::uint32_t j = 0; j < Wide; ++j) total[i][j] = lanes::all(0);
  std::uint32_t oldest[Count], seen[Count];
  for (std::uint32_t i = 0; i < Count; ++i) oldest[i] = tile.oldest(i), seen[i] = tile.visible(i);
  for (std::uint32_t b = tile.first_block(); b < tile.blocks; ++b) {
    const Number* values = page<Number>(t, t.values, b) + d;
    const Number* ahead = values_or_next<Number>(tile, b + pages_ahead) + d;
    const std::uint32_t first = b * block_positions;
    const std::uint32_t left = seen[Count - 1] - first,
                        count = left < block_positions ? left : block_positions;
    if (first < oldest[Count - 1] || first + count > seen[0])
      blend_block<Number, Count, Wide, true>(tile, first, count, values, ahead, n, oldest, seen,
                                             total);
    else
      blend_block<Number, Count, Wide, false>(tile, first, count, values, ahead, n, oldest, seen,
                                              total);
  }
  COLLM_UNROLL for (std::uint32_t i = 0; i < Count; ++i) {
    const std::uint32_t pair = tile.first + i;
    float* out =
        t.out + pair / t.group * t.out_stride + std::size_t{pair % t.group} * t.head_dim + d;
    COLLM_UNROLL for (std::uint32_t j = 0; j < Wide; ++j) store_some(
        total[i][j] / lanes::all(tile.totals[i]), out + j * lane_count, Wide == 1 ? n : lane_count);
  }
}

/// Vectors for each of `count` pairs whose sums fit into registers.
constexpr std::uint32_t vectors_together(std::uint32_t count) {
  const std::uint32_t fit = sums_together / count;
  return fit >= 4 ? 4 : fit >= 2 ? 2 : 1;
}

template <class Number, std::uint32_t Count>
void attend_tile(attention_tile& tile) {
  scale_queries(tile);
  constexpr std::uint32_t many = vectors_together(Count);
  std::uint32_t b = tile.first_block();
  for (; b + many <= tile.blocks; b += many) score_blocks<Number, Count, many>(tile, b);
  for (; b < tile.blocks; ++b) score_blocks<Number, Count, 1>(tile, b);
  for (std::uint32_t i = 0; i < Count; ++i) weigh(tile, i);
  const std::uint32_t dim = tile.task->head_dim;
  constexpr std::uint32_t wide = vectors_together(Count);
  std::uint32_t d = 0;
  for (; d + wide * lane_count <= dim; d += wide * lane_count)
    blend<Number, Count, wide>(tile, d, lane_count);
  for (; d < dim; d += lane_count)
    blend<Number, Count, 1>(tile, d, dim - d < lane_count ? dim - d : lane_count);
}

template <class Number, std::size_t... Counts>
void dispatch_tile(attention_tile& tile, std::index_sequence<Counts...>) {
  (void)((tile.count == Counts + 1 && (attend_tile<Number, Counts + 1>(tile), true)) || ...);
}

void attend(const attention_task& task) {
  const std::uint32_t pairs = task.rows * task.group;
  for (std::uint32_t first = 0; first < pairs; first += pairs_together) {
    attention_tile tile;
    tile.task = &task;
    tile.first = first;
    tile.count = pairs - first < pairs_together ? pairs - first : pairs_together;
    tile.blocks = (tile.visible(tile.count - 1) + block_positions - 1) / block_positions;
    tile.queries = task.scratch;
    tile.weights = task.scratch + std::size_t{attention_queries} * task.head_dim;
    if (task.halves)
      dispatch_tile<half>(tile, std::make_index_sequence<pairs_together>{});
    else
      dispatch_tile<float>(tile, std::make_index_sequence<pairs_together>{});
  }
}

}  // namespace
}  // namespace collm::engine
