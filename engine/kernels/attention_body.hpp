// Attention over paged keys and values, written once over lanes. A (row, head) pair's bytes depend
// on its own query and the positions up to its row only: scores are summed over head_dim in order,
// the softmax and the weighted sum over positions in order, and positions after the row weigh
// exactly 0. Included by kernels_<path>.cpp after lanes.hpp.
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

template <std::uint32_t Count>
void score_block(const attention_tile& tile, std::uint32_t block) {
  const auto& t = *tile.task;
  const float* keys = t.keys + t.blocks[block] * t.block_stride;
  lanes total[Count];
  for (auto& lane : total) lane = lanes::all(0);
  for (std::uint32_t d = 0; d < t.head_dim; ++d) {
    const lanes k = lanes::load(keys + std::size_t{d} * block_positions);
    for (std::uint32_t i = 0; i < Count; ++i)
      total[i] = fma(lanes::all(tile.queries[std::size_t{i} * t.head_dim + d]), k, total[i]);
  }
  for (std::uint32_t i = 0; i < Count; ++i)
    total[i].store(tile.weights + i * tile.weights_stride() + std::size_t{block} * block_positions);
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
template <std::uint32_t Count, std::uint32_t Wide>
void blend(const attention_tile& tile, std::uint32_t d, std::uint32_t n) {
  const auto& t = *tile.task;
  lanes total[Count][Wide];
  for (auto& row : total)
    for (auto& lane : row) lane = lanes::all(0);
  const std::uint32_t seen = tile.visible(tile.count - 1);
  for (std::uint32_t p = tile.first_block() * block_positions; p < seen; ++p) {
    const float* values = t.values + t.blocks[p / block_positions] * t.block_stride +
                          std::size_t{p % block_positions} * t.head_dim + d;
    lanes v[Wide];
    for (std::uint32_t j = 0; j < Wide; ++j)
      v[j] = Wide == 1 ? load_some(values, n) : lanes::load(values + std::size_t{j} * lane_count);
    for (std::uint32_t i = 0; i < Count; ++i) {
      const lanes w = lanes::all(tile.weights[i * tile.weights_stride() + p]);
      for (std::uint32_t j = 0; j < Wide; ++j) total[i][j] = fma(w, v[j], total[i][j]);
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

template <std::uint32_t Count>
void attend_tile(attention_tile& tile) {
  scale_queries(tile);
  for (std::uint32_t b = tile.first_block(); b < tile.blocks; ++b) score_block<Count>(tile, b);
  for (std::uint32_t i = 0; i < Count; ++i) weigh(tile, i);
  const std::uint32_t dim = tile.task->head_dim;
  std::uint32_t d = 0;
  for (; d + 2 * lane_count <= dim; d += 2 * lane_count) blend<Count, 2>(tile, d, lane_count);
  for (; d < dim; d += lane_count)
    blend<Count, 1>(tile, d, dim - d < lane_count ? dim - d : lane_count);
}

template <std::size_t... Counts>
void dispatch_tile(attention_tile& tile, std::index_sequence<Counts...>) {
  (void)((tile.count == Counts + 1 && (attend_tile<Counts + 1>(tile), true)) || ...);
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
    dispatch_tile(tile, std::make_index_sequence<attention_queries>{});
  }
}

}  // namespace
}  // namespace collm::engine
