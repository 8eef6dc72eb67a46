// Attention over paged keys and values, written once over lanes. A (row, head) pair's bytes depend
// on its own query and the positions up to its row only: scores are summed over head_dim in order,
// the softmax and the weighted sum over positions in order, and positions after the row are
// left out. Included by kernels_<path>.cpp after lanes.hpp.
#pragma once

#include <limits>
#include <utility>

#include "engine/kernels/kernels.hpp"
#include "engine/kernels/lanes.hpp"

namespace collm::engine {
namespace {

/// One tile of up to attention_queries (row, head) pairs.
struct attention_tile {
  const attention_task* task;
  std::uint32_t first = 0, count = 0;  ///< pairs of the task, pair = row * group + head
  std::uint32_t blocks = 0;            ///< covering the tile's last row
  float *queries, *weights;            ///< [count][head_dim], [count][blocks * block_positions]
  float totals[attention_queries];     ///< softmax denominators

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

/// Scores of `Many` blocks from `block` on: many at once only hide latency. The pages lie apart, so
/// the next ones are asked for by hand.
template <class Number, std::uint32_t Count, std::uint32_t Many>
void score_blocks(const attention_tile& tile, std::uint32_t block) {
  const auto& t = *tile.task;
  const Number *keys[Many], *ahead[Many];
  for (std::uint32_t m = 0; m < Many; ++m) {
    keys[m] = page<Number>(t, t.keys, block + m);
    const std::uint32_t next = block + Many + m;
    ahead[m] = page<Number>(t, t.keys, next < tile.blocks ? next : block + m);
  }
  lanes total[Many][Count];
  for (auto& of_block : total)
    for (auto& lane : of_block) lane = lanes::all(0);
  for (std::uint32_t d = 0; d < t.head_dim; ++d) {
    lanes k[Many];
    for (std::uint32_t m = 0; m < Many; ++m) {
      __builtin_prefetch(ahead[m] + std::size_t{d} * block_positions);
      k[m] = lanes::load(keys[m] + std::size_t{d} * block_positions);
    }
    for (std::uint32_t i = 0; i < Count; ++i) {
      const lanes q = lanes::all(tile.queries[std::size_t{i} * t.head_dim + d]);
      for (std::uint32_t m = 0; m < Many; ++m) total[m][i] = fma(q, k[m], total[m][i]);
    }
  }
  for (std::uint32_t i = 0; i < Count; ++i)
    for (std::uint32_t m = 0; m < Many; ++m)
      total[m][i].store(tile.weights + i * tile.weights_stride() +
                        std::size_t{block + m} * block_positions);
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

/// Weighted values of `Wide` vectors of head_dim, `n` floats in the last one.
template <class Number, std::uint32_t Count, std::uint32_t Wide>
void blend(const attention_tile& tile, std::uint32_t d, std::uint32_t n) {
  const auto& t = *tile.task;
  lanes total[Count][Wide];
  for (auto& row : total)
    for (auto& lane : row) lane = lanes::all(0);
  std::uint32_t oldest[Count], seen[Count];
  for (std::uint32_t i = 0; i < Count; ++i) oldest[i] = tile.oldest(i), seen[i] = tile.visible(i);
  for (std::uint32_t b = tile.first_block(); b < tile.blocks; ++b) {
    const Number* values = page<Number>(t, t.values, b) + d;
    const Number* ahead = page<Number>(t, t.values, b + 1 < tile.blocks ? b + 1 : b) + d;
    const std::uint32_t first = b * block_positions;
    const std::uint32_t left = seen[Count - 1] - first,
                        count = left < block_positions ? left : block_positions;
    // Where not all pairs see all positions, a weight of 0 is not enough: 0 * infinity is no
    // number.
    const bool edge = first < oldest[Count - 1] || first + count > seen[0];
    for (std::uint32_t p = 0; p < count; ++p, values += t.head_dim, ahead += t.head_dim) {
      lanes v[Wide];
      for (std::uint32_t j = 0; j < Wide; ++j) {
        __builtin_prefetch(ahead + std::size_t{j} * lane_count);
        v[j] = Wide == 1 ? load_some(values, n) : lanes::load(values + std::size_t{j} * lane_count);
      }
      for (std::uint32_t i = 0; i < Count; ++i) {
        if (edge && (first + p < oldest[i] || first + p >= seen[i])) continue;
        const lanes w = lanes::all(tile.weights[i * tile.weights_stride() + first + p]);
        for (std::uint32_t j = 0; j < Wide; ++j) total[i][j] = fma(w, v[j], total[i][j]);
      }
    }
  }
  for (std::uint32_t i = 0; i < Count; ++i) {
    const std::uint32_t pair = tile.first + i;
    float* out =
        t.out + pair / t.group * t.out_stride + std::size_t{pair % t.group} * t.head_dim + d;
    for (std::uint32_t j = 0; j < Wide; ++j)
      store_some(total[i][j] / lanes::all(tile.totals[i]), out + j * lane_count,
                 Wide == 1 ? n : lane_count);
  }
}

template <class Number, std::uint32_t Count>
void attend_tile(attention_tile& tile) {
  scale_queries(tile);
  constexpr std::uint32_t many = Count <= 4 ? 4 : 2;  // sums that fit into registers
  std::uint32_t b = tile.first_block();
  for (; b + many <= tile.blocks; b += many) score_blocks<Number, Count, many>(tile, b);
  for (; b < tile.blocks; ++b) score_blocks<Number, Count, 1>(tile, b);
  for (std::uint32_t i = 0; i < Count; ++i) weigh(tile, i);
  const std::uint32_t dim = tile.task->head_dim;
  constexpr std::uint32_t wide = Count <= 4 ? 4 : 2;
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
  for (std::uint32_t first = 0; first < pairs; first += attention_queries) {
    attention_tile tile;
    tile.task = &task;
    tile.first = first;
    tile.count = pairs - first < attention_queries ? pairs - first : attention_queries;
    tile.blocks = (tile.visible(tile.count - 1) + block_positions - 1) / block_positions;
    tile.queries = task.scratch;
    tile.weights = task.scratch + std::size_t{attention_queries} * task.head_dim;
    if (task.halves)
      dispatch_tile<half>(tile, std::make_index_sequence<attention_queries>{});
    else
      dispatch_tile<float>(tile, std::make_index_sequence<attention_queries>{});
  }
}

}  // namespace
}  // namespace collm::engine
