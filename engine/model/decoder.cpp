#include "engine/model/decoder.hpp"

#include <algorithm>
#include <cstring>

#include "engine/model/linear_f32.hpp"
#include "messages/assert.hpp"

namespace collm::engine {
namespace {

constexpr std::uint32_t product_grain =
    16;  // outputs: one cache line of floats, so that no two threads write one line
constexpr std::uint32_t rows_of_member_min = 12;  // below, reading the weights is what takes long
constexpr std::uint32_t head_piece = 768;         // outputs: of 32 rows they fit the second cache
constexpr std::uint32_t attention_rows =
    32;  // query rows of one attention item: enough items to share out
std::size_t padded(std::size_t n) {
  return (n + row_alignment - 1) / row_alignment * row_alignment;
}

}  // namespace

private_pages::private_pages(const model_shape& s, precision p, std::uint32_t tokens) {
  kv_.halves = kv_halves(p);
  kv_.layers = s.layers;
  kv_.kv_heads = s.kv_heads;
  kv_.head_dim = s.head_dim;
  kv_.block_tokens = block_positions;
  kv_.blocks = (tokens + block_positions - 1) / block_positions;
  storage_.assign(kv_.bytes(), 0);
  kv_.data = storage_.data();
  for (std::uint32_t b = 0; b < kv_.blocks; ++b) table_.push_back(b);
}

std::unique_ptr<model> model::make(base_ptr b, std::uint32_t threads, std::uint32_t rows_max) {
  auto held = std::static_pointer_cast<const packed_base>(std::move(b));
  return std::make_unique<decoder>(std::move(held), threads, rows_max);
}

decoder::decoder(std::shared_ptr<const packed_base> b, std::uint32_t threads,
                 std::uint32_t rows_max, input_observer* observer)
    : base_(std::move(b)),
      weights_(base_->weights()),
      kernels_(kernels()),
      threads_(std::max(threads, 1u)),
      rows_max_(rows_max),
      observer_(observer) {
  const auto& s = shape();
  angles_.emplace_back(s.rope_theta, s.head_dim, s.context);
  if (s.window != 0) angles_.emplace_back(s.window_rope_theta, s.head_dim, s.context);
  const std::uint32_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  slots_[0] = {{target::q, 0, q}, {target::k, q, kv}, {target::v, q + kv, kv}};
  slots_[1] = {{target::o, 0, s.hidden}};
  slots_[2] = {{target::gate, 0, s.ffn}, {target::up, s.ffn, s.ffn}};
  slots_[3] = {{target::down, 0, s.hidden}};
  const std::uint32_t in_most = std::max({s.hidden, s.ffn, q});
  wide_stride_ = padded(std::max({q + 2 * kv, 2 * s.ffn, s.hidden}));
  input_stride_ = in_most;
  residual_.resize(std::size_t{rows_max} * s.hidden);
  input_.resize(rows_max * input_stride_);
  wide_.resize(rows_max * wide_stride_);
  places_.reserve(rows_max);
  output_rows_.reserve(rows_max);
  const std::uint32_t hi = std::max(s.ffn, outlier_columns(in_most));
  const std::size_t panels = (rows_max + panel_rows - 1) / panel_rows;
  quantised_.lo_stride = panel_rows * padded(in_most);
  quantised_.hi_stride = panel_rows * padded(hi);
  quantised_bytes_.resize(panels * (quantised_.lo_stride + quantised_.hi_stride));
  quantised_scales_.resize(rows_max);
  quantised_.lo = quantised_bytes_.data();
  quantised_.hi = quantised_.lo + panels * quantised_.lo_stride;
  quantised_.scale = quantised_scales_.data();
  scratch_stride_ = padded(sizeof(float) * attention_scratch_floats(s.context, s.head_dim));
  scratch_.resize(scratch_stride_ * threads_);
}

std::uint64_t decoder::activation_bytes() const {
  const std::size_t floats = residual_.size() + input_.size() + wide_.size() + lora_.size() +
                             logits_.capacity() + quantised_scales_.size();
  std::uint64_t bytes = floats * sizeof(float) + quantised_bytes_.size() + scratch_.size();
  for (const auto& a : angles_) bytes += a.bytes();
  return bytes;
}

std::span<const decoder::slot> decoder::slots(matrix m) const {
  return slots_[static_cast<std::size_t>(m)];
}

void decoder::place_rows(std::span<const segment> segments) {
  places_.clear();
  output_rows_.clear();
  std::size_t ranks = 0;
  for (std::uint32_t i = 0; i < segments.size(); ++i) {
    const auto& s = segments[i];
    const auto count = static_cast<std::uint32_t>(s.tokens.size());
    COLLM_ASSERT(places_.size() + count <= rows_max_);
    COLLM_ASSERT(s.position + count <= shape().context);
    COLLM_ASSERT(s.blocks.size() * block_positions >= s.position + count);
    for (std::uint32_t j = 0; j < count; ++j) {
      if (s.all_logits || (s.logits && j + 1 == count))
        output_rows_.push_back(static_cast<std::uint32_t>(places_.size()));
      COLLM_ASSERT(s.tokens[j] >= 0 && static_cast<std::uint32_t>(s.tokens[j]) < shape().vocab);
      places_.push_back({i, s.position + j, s.tokens[j]});
    }
    for (auto& a : angles_) a.reach(s.position + count);
    if (s.with != nullptr) ranks = std::max<std::size_t>(ranks, 3 * std::size_t{s.with->rank_max});
  }
  rows_ = static_cast<std::uint32_t>(places_.size());
  outputs_ = static_cast<std::uint32_t>(output_rows_.size());
  lora_stride_ = ranks;
  if (lora_.size() < rows_ * ranks) lora_.resize(rows_max_ * ranks);
  if (logits_.size() < std::size_t{outputs_} * shape().vocab)
    logits_.resize(std::size_t{outputs_} * shape().vocab);
  peaks_.assign(std::size_t{outputs_} * threads_, {});
}

void decoder::place_attention(std::span<const segment> segments) {
  items_.clear();
  attention_cost_ = {};
  for (std::uint32_t i = 0, first = 0; i < segments.size(); ++i) {
    const auto count = static_cast<std::uint32_t>(segments[i].tokens.size());
    for (std::uint32_t j = 0; j < count; j += attention_rows) {
      const std::uint32_t rows = std::min(attention_rows, count - j);
      for (std::uint32_t h = 0; h < shape().kv_heads; ++h) {
        items_.push_back({i, h, first + j, rows, attention_cost_});
        const std::uint64_t seen = places_[first + j].position + rows;
        attention_cost_[0] += rows * seen;
        attention_cost_[1] += rows * std::min<std::uint64_t>(seen, shape().window + rows);
      }
    }
    first += count;
  }
}

std::span<const float> decoder::forward(std::span<const segment> segments, const kv_pages& kv) {
  COLLM_ASSERT(kv.block_tokens == block_positions);
  place_rows(segments);
  place_attention(segments);
  if (base_->precision() == precision::f32) use_one_torch_thread();
  const auto work = [&](member me) {
    if (me.index + 1 == me.members) me.clock = clock_;
    me.mark(phase::start);
    run(me, segments, kv);
  };
  run_team(threads_, point_, std::cref(work));  // by reference: a step allocates nothing
  if (clock_ != nullptr) clock_->mark(phase::waiting);
  for (std::size_t i = outputs_; i < peaks_.size(); ++i) peaks_[i % outputs_].take(peaks_[i]);
  return {logits_.data(), std::size_t{outputs_} * shape().vocab};
}

/// Whether the team divides so many rows, so that each member's share keeps its vectors full. It
/// then needs neither to meet nor to pass rows from core to core, but each reads all weights.
static bool by_rows(std::uint32_t rows, std::uint32_t members) {
  return rows >= rows_of_member_min * members;
}

static std::pair<std::uint32_t, std::uint32_t> rows_of(const member& me, std::uint32_t rows) {
  return me.part(rows, by_rows(rows, me.members) ? panel_rows : 1);
}

decoder::share decoder::share_of(const member& me, std::uint32_t rows, std::uint32_t outs) {
  if (by_rows(rows, me.members)) {
    const auto [first, last] = rows_of(me, rows);
    return {first, last, 0, outs};
  }
  const auto [first, last] = me.part(outs, product_grain);
  return {0, rows, first, last};
}

void decoder::run(const member& me, std::span<const segment> segments, const kv_pages& kv) {
  const auto [first, last] = rows_of(me, rows_);
  for (std::uint32_t r = first; r < last; ++r) embed(r);
  me.mark(phase::embed);
  for (std::uint32_t l = 0; l < shape().layers; ++l) {
    if (observer_ != nullptr && !observer_->layer_begins(l)) return;
    run_layer(me, l, segments, kv);
  }
  me.meet();
  head(me);
}

void decoder::run_layer(const member& me, std::uint32_t layer, std::span<const segment> segments,
                        const kv_pages& kv) {
  const auto& s = shape();
  const auto& w = weights_.layers[layer];
  const bool together = !by_rows(rows_, me.members);  // on the same rows
  const auto meet = [&] {
    if (together) me.meet();
  };
  const auto for_rows = [&](auto&& f) {
    const auto [first, last] = rows_of(me, rows_);
    for (std::uint32_t r = first; r < last; ++r) f(r, segments[places_[r].segment]);
  };
  for_rows([&](std::uint32_t r, const segment& of) {
    kernels_.rms_norm(residual(r), w.attention_norm, s.hidden, s.norm_epsilon, input(r));
    me.mark(phase::norm);
    prepare_row(me, layer, matrix::qkv, r, input(r), of);
  });
  meet();
  product(me, layer, matrix::qkv, segments);
  meet();
  for_rows([&](std::uint32_t r, const segment& of) {
    turn_queries_keys(layer, r);
    me.mark(phase::rotary);
    keep_keys_values(layer, r, of, kv);
    me.mark(phase::keep);
  });
  me.meet();
  attention(me, layer, segments, kv);
  me.mark(phase::attention);
  me.meet();
  for_rows([&](std::uint32_t r, const segment& of) {
    prepare_row(me, layer, matrix::o, r, input(r), of);
  });
  meet();
  product(me, layer, matrix::o, segments);
  add_residual(me, w.post_attention_norm);
  meet();
  for_rows([&](std::uint32_t r, const segment& of) {
    kernels_.rms_norm(residual(r), w.ffn_norm, s.hidden, s.norm_epsilon, input(r));
    me.mark(phase::norm);
    prepare_row(me, layer, matrix::gate_up, r, input(r), of);
  });
  meet();
  product(me, layer, matrix::gate_up, segments);
  meet();
  const auto gate = s.gate == gate_kind::silu ? kernels_.swiglu : kernels_.geglu;
  for_rows([&](std::uint32_t r, const segment& of) {
    gate(wide(r), wide(r) + s.ffn, s.ffn, input(r));
    me.mark(phase::activation);
    prepare_row(me, layer, matrix::down, r, input(r), of);
  });
  meet();
  product(me, layer, matrix::down, segments);
  add_residual(me, w.post_ffn_norm);
  meet();
}

void decoder::embed(std::uint32_t row) {
  const auto& e = weights_.embedding;
  const std::uint32_t n = shape().hidden;
  const auto token = static_cast<std::size_t>(places_[row].token);
  const float factor = shape().embedding_scale;
  if (e.f32 == nullptr)
    return kernels_.dequantise_row(e.s8, static_cast<std::uint32_t>(token), factor, residual(row));
  for (std::uint32_t i = 0; i < n; ++i) residual(row)[i] = e.f32[token * n + i] * factor;
}

void decoder::prepare_row(const member& me, std::uint32_t layer, matrix m, std::uint32_t row,
                          float* x, const segment& s) {
  const auto& w = weights_.layers[layer].of(m);
  if (observer_ != nullptr) observer_->layer_input(layer, m, x, w.s8.in);
  if (w.f32 == nullptr) kernels_.quantise(x, w.s8, quantised_, row);
  me.mark(phase::quantise);
  if (s.with == nullptr) return;
  float* t = lora(row);
  for (const auto& slot : slots(m)) {
    const auto& pair = s.with->layers[layer][static_cast<std::size_t>(slot.which)];
    if (pair.rank == 0) continue;
    if (w.f32 != nullptr)
      lora_down_f32(x, pair.a.data(), pair.in, pair.rank, pair.scale, t);
    else
      kernels_.lora_down(x, pair.served_a.data(), pair.in, pair.rank, pair.served_scale(), t);
    t += pair.rank;
  }
  me.mark(phase::lora_down);
}

static phase phase_of(matrix m) {
  constexpr phase of[] = {phase::qkv, phase::o, phase::gate_up, phase::down};
  return of[static_cast<std::size_t>(m)];
}

void decoder::product(const member& me, std::uint32_t layer, matrix m,
                      std::span<const segment> segments) {
  const auto& w = weights_.layers[layer].of(m);
  const share part = share_of(me, rows_, w.s8.out);
  multiply(w, part, wide(0), wide_stride_);
  me.mark(phase_of(m));
  add_lora(layer, m, part, segments);
  me.mark(phase::lora_up);
}

/// Prepared rows times weights.
void decoder::multiply(const linear_weights& w, const share& part, float* to,
                       std::size_t to_stride) {
  const auto [first_row, last_row, first, last] = part;
  to += first_row * to_stride;
  if (w.f32 != nullptr)
    return product_f32(input(first_row), input_stride_, last_row - first_row, w.s8.in, w.f32, first,
                       last, to, to_stride);
  const std::uint32_t panel = first_row / panel_rows;
  quantised_rows rows = quantised_;
  rows.lo += panel * rows.lo_stride;
  rows.hi += panel * rows.hi_stride;
  rows.scale += first_row;
  kernels_.gemm(rows, last_row - first_row, w.s8, first, last, to, to_stride);
}

void decoder::add_lora(std::uint32_t layer, matrix m, const share& part,
                       std::span<const segment> segments) {
  const auto [first_row, last_row, first, last] = part;
  const bool exact = weights_.layers[layer].of(m).f32 != nullptr;
  for (std::uint32_t r = first_row; r < last_row; ++r) {
    const adapter* with = segments[places_[r].segment].with;
    const float* t = lora(r);
    for (const auto& slot : slots(m)) {
      if (with == nullptr) break;
      const auto& pair = with->layers[layer][static_cast<std::size_t>(slot.which)];
      if (pair.rank == 0) continue;
      COLLM_ASSERT(pair.served_bt.size() == pair.b.size());
      const std::uint32_t from = std::max(first, slot.first),
                          to = std::min(last, slot.first + slot.out);
      if (from < to && exact)
        lora_up_f32(t, pair.b.data(), pair.rank, from - slot.first, to - slot.first,
                    wide(r) + slot.first);
      else if (from < to)
        kernels_.lora_up(t, pair.served_bt.data(), pair.rank, pair.out, from - slot.first,
                         to - slot.first, wide(r) + slot.first);
      t += pair.rank;
    }
  }
}

/// Adds the outputs that this member has just computed, or whole rows where a norm comes before.
void decoder::add_residual(const member& me, const float* post_norm) {
  const std::uint32_t n = shape().hidden;
  if (post_norm == nullptr) {
    const auto [first_row, last_row, first, last] = share_of(me, rows_, n);
    for (std::uint32_t r = first_row; r < last_row; ++r)
      kernels_.add(wide(r) + first, last - first, residual(r) + first);
    return me.mark(phase::residual);
  }
  if (!by_rows(rows_, me.members)) me.meet();  // a norm needs the whole row
  const auto [first, last] = rows_of(me, rows_);
  for (std::uint32_t r = first; r < last; ++r) {
    kernels_.rms_norm(wide(r), post_norm, n, shape().norm_epsilon, wide(r));
    kernels_.add(wide(r), n, residual(r));
  }
  me.mark(phase::residual);
}

void decoder::turn_queries_keys(std::uint32_t layer, std::uint32_t row) {
  const auto& s = shape();
  const auto& w = weights_.layers[layer];
  const std::uint32_t position = places_[row].position;
  float* at = wide(row);
  const auto each = [&](std::uint32_t heads, const float* bias, const float* norm, bool turned) {
    if (bias != nullptr) kernels_.add(bias, heads * s.head_dim, at);
    for (std::uint32_t h = 0; h < heads; ++h, at += s.head_dim) {
      if (norm != nullptr) kernels_.rms_norm(at, norm, s.head_dim, s.norm_epsilon, at);
      if (turned)
        kernels_.rotate(at, angles(layer).cosines(position), angles(layer).sines(position),
                        s.head_dim);
    }
  };
  each(s.heads, w.q_bias, w.q_norm, true);
  each(s.kv_heads, w.k_bias, w.k_norm, true);
  each(s.kv_heads, w.v_bias, nullptr, false);
}

/// One position's keys or values of all heads into their block's pages; keys lie across.
template <class Number>
void decoder::keep(const Number* from, std::uint8_t* block, std::uint32_t at, bool across) const {
  const auto& m = shape();
  auto* page = reinterpret_cast<Number*>(block);
  for (std::uint32_t h = 0; h < m.kv_heads; ++h) {
    if (across)
      for (std::uint32_t d = 0; d < m.head_dim; ++d) page[d * block_positions + at] = from[d];
    else
      std::memcpy(page + std::size_t{at} * m.head_dim, from, m.head_dim * sizeof(Number));
    from += m.head_dim;
    page += std::size_t{block_positions} * m.head_dim;
  }
}

void decoder::keep_keys_values(std::uint32_t layer, std::uint32_t row, const segment& s,
                               const kv_pages& kv) {
  const auto& m = shape();
  const auto [segment_index, position, token] = places_[row];
  float* k = wide(row) + m.heads * m.head_dim;
  const float* v = k + m.kv_heads * m.head_dim;
  const std::uint32_t block = s.blocks[position / block_positions], at = position % block_positions;
  if (!kv.halves) {
    keep(k, kv.keys(layer, block), at, true);
    return keep(v, kv.values(layer, block), at, false);
  }
  // k and v lie side by side; rounded in place, as nobody reads them again
  auto* halves = reinterpret_cast<half*>(k);
  kernels_.to_halves(k, 2 * m.kv_heads * m.head_dim, halves);
  keep(halves, kv.keys(layer, block), at, true);
  keep(halves + m.kv_heads * m.head_dim, kv.values(layer, block), at, false);
}

attention_task decoder::task_of(const attention_item& item, const segment& s, std::uint32_t layer,
                                const kv_pages& kv) const {
  const auto& m = shape();
  const std::size_t page =
      std::size_t{item.kv_head} * block_positions * m.head_dim * kv.number_bytes();
  attention_task task;
  task.group = m.heads / m.kv_heads;
  task.q = wide(item.first) + std::size_t{item.kv_head} * task.group * m.head_dim;
  task.q_stride = wide_stride_;
  task.out_stride = input_stride_;
  task.rows = item.rows;
  task.head_dim = m.head_dim;
  task.position = places_[item.first].position;
  task.window = m.windowed(layer) ? m.window : 0;
  task.blocks = s.blocks.data();
  task.keys = kv.keys(layer, 0) + page;
  task.values = kv.values(layer, 0) + page;
  task.block_stride = kv.block_numbers();
  task.halves = kv.halves;
  return task;
}

void decoder::attention(const member& me, std::uint32_t layer, std::span<const segment> segments,
                        const kv_pages& kv) {
  // One run of items a member, of equal cost: when rows are divided too, a member so reads the
  // queries and keys that it has just written, from its own cache.
  const std::size_t kind = shape().windowed(layer) ? 1 : 0;
  const auto cut = [&](std::uint64_t m) {
    return std::partition_point(items_.begin(), items_.end(), [&](const attention_item& item) {
      return item.before[kind] * me.members < attention_cost_[kind] * m;
    });
  };
  const auto first = cut(me.index), last = cut(me.index + std::uint64_t{1});
  attention_task task, next;
  for (auto item = first; item != last; ++item) {
    task = item == first ? task_of(*item, segments[item->segment], layer, kv) : next;
    task.out = input(item->first) + std::size_t{item->kv_head} * task.group * task.head_dim;
    task.scratch = reinterpret_cast<float*>(scratch_.data() + me.index * scratch_stride_);
    if (item + 1 != last) {
      next = task_of(item[1], segments[item[1].segment], layer, kv);
      task.next = &next;
    }
    kernels_.attend(task);
  }
}

void decoder::head(const member& me) {
  const auto& s = shape();
  const auto& w = weights_.head;
  const auto [begin, end] = me.part(outputs_, 1);
  // Output i takes over row i of the inputs: output rows ascend, so none is overwritten before it
  // is read from the residual.
  for (std::uint32_t i = begin; i < end; ++i) {
    kernels_.rms_norm(residual(output_rows_[i]), weights_.output_norm, s.hidden, s.norm_epsilon,
                      input(i));
    me.mark(phase::norm);
    if (observer_ != nullptr) observer_->head_input(input(i), s.hidden);
    if (w.f32 == nullptr) kernels_.quantise(input(i), w.s8, quantised_, i);
    me.mark(phase::quantise);
  }
  me.meet();
  head_products(me);
  me.mark(phase::head);
}

/// Piece by piece, so that each row's peak is taken from the cache.
void decoder::head_products(const member& me) {
  const auto& w = weights_.head;
  const std::size_t vocab = shape().vocab;
  const auto [first_row, last_row, first, last] = share_of(me, outputs_, shape().vocab);
  if (first_row == last_row) return;
  logit_peak* const peaks = peaks_.data() + std::size_t{me.index} * outputs_;
  const std::uint32_t piece = w.f32 != nullptr ? std::max(last - first, 1u) : head_piece;
  for (std::uint32_t o = first; o < last; o += piece) {
    const std::uint32_t end = std::min(last, o + piece);
    multiply(w, {first_row, last_row, o, end}, logits_.data(), vocab);
    for (std::uint32_t r = first_row; r < last_row; ++r)
      peaks[r].take({logits_.data() + r * vocab + o, end - o}, static_cast<std::int32_t>(o));
  }
}

}  // namespace collm::engine
