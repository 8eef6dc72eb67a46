#include "engine/train/layer_units.hpp"

#include <algorithm>
#include <cstring>

#include "engine/model/linear_f32.hpp"
#include "messages/assert.hpp"

namespace collm::engine {
namespace {

std::uint32_t reach_of(const model_shape& s, const training_options& o) {
  return std::min(o.sample_tokens, s.context);
}

/// Rows that one pass can have.
std::uint32_t pass_rows_max(const model_shape& s, const training_options& o) {
  return std::max(o.window_tokens, reach_of(s, o) - 1);  // the last token has no row
}

std::uint64_t carried_floats(const model_shape& s, std::uint32_t rows) {
  return std::uint64_t{2} * s.kv_heads * s.head_dim * s.layers * rows;
}

/// libtorch's sums depend on how rows are divided, so the reference computes alone.
std::uint32_t team_of(const packed_base& b, const training_options& o) {
  return b.precision() == precision::f32 ? 1 : std::max(o.threads, 1u);
}

}  // namespace

layer_units::layer_units(std::shared_ptr<const packed_base> base, const training_options& options,
                         std::uint32_t row_ranks, std::uint32_t product_ranks)
    : base_(std::move(base)),
      kernels_(kernels()),
      training_(training_kernels()),
      threads_(team_of(*base_, options)),
      work_(shape(), base_->precision(), options, product_ranks),
      saved_(shape(), base_->precision(), row_ranks),
      attention_(shape(), saved_),
      left_(shape()) {
  const auto& s = shape();
  const std::uint32_t reach = reach_of(s, options);
  angles_.emplace_back(s.rope_theta, s.head_dim, reach);
  if (s.window != 0) angles_.emplace_back(s.window_rope_theta, s.head_dim, reach);
  for (auto& a : angles_) a.reach(reach);
  for (std::uint32_t i = 0; i < threads_; ++i) scratch_.emplace_back(s, reach);
}

std::uint64_t layer_units::bytes_for(const packed_base& base, const training_options& o,
                                     std::uint32_t row_ranks, std::uint32_t product_ranks) {
  const auto& s = base.shape();
  const saved_activations saved(s, base.precision(), row_ranks);
  const std::uint32_t rows = pass_rows_max(s, o), reach = reach_of(s, o);
  const std::uint64_t angles =
      std::uint64_t{reach} * s.head_dim * sizeof(float) * (s.window != 0 ? 2 : 1);
  return saved.bytes_for(rows) + workspace::bytes_for(s, base.precision(), o, product_ranks) +
         team_of(base, o) * attention_scratch::bytes_for(s, reach) +
         key_value_gradients(s).bytes_for(rows) + angles +
         (rows > o.window_tokens ? carried_floats(s, rows) * sizeof(float) : 0);
}

std::uint64_t layer_units::bytes() const {
  std::uint64_t bytes =
      saved_.bytes() + work_.bytes() + left_.bytes() + carried_.capacity() * sizeof(float);
  for (const auto& s : scratch_) bytes += s.bytes();
  for (const auto& a : angles_) bytes += a.bytes();
  return bytes;
}

void layer_units::start(const training_pass& pass) {
  const auto rows = static_cast<std::uint32_t>(pass.rows.size());
  saved_.reserve(rows);
  left_.reserve(rows);
  carried_rows_ = pass.windows.size() > 1 ? rows : 0;
  const std::uint64_t floats = carried_floats(shape(), carried_rows_);
  if (floats > carried_.capacity()) carried_ = {};  // never the old beside the new
  carried_.assign(floats, 0.0f);
  if (base_->precision() == precision::f32) use_one_torch_thread();
}

float* layer_units::carried(const unit_place& unit) {
  if (carried_rows_ == 0) return nullptr;
  const auto& s = shape();
  return carried_.data() + std::size_t{unit.layer} * carried_rows_ * 2 * s.kv_heads * s.head_dim;
}

void layer_units::together(const std::function<void(const member&)>& f) {
  run_team(threads_, point_, f);
}

layer_units::rows_share layer_units::share(const member& me, std::uint32_t rows) {
  const auto [first, last] = me.part(rows, panel_rows);
  return {first, last};
}

layer_units::columns_share layer_units::columns(const member& me, std::uint32_t count) {
  const auto [first, last] = me.part(count, product_grain);
  return {first, last};
}

void layer_units::embed(const unit_place& unit, std::uint32_t row) {
  const auto& e = base_->weights().embedding;
  const std::uint32_t n = shape().hidden, at = unit.window.first + row;
  const auto token = static_cast<std::uint32_t>(unit.pass->rows[at].token);
  float* to = saved_.residual(0, at);
  const float factor = shape().embedding_scale;
  if (e.f32 == nullptr) return kernels_.dequantise_row(e.s8, token, factor, to);
  for (std::uint32_t i = 0; i < n; ++i) to[i] = e.f32[std::size_t{token} * n + i] * factor;
}

/// One base product with its adapters, from `input` to `wide`: x Wt + (scale x At) Bt.
void layer_units::adapted(const unit_place& unit, const lora_set& with, matrix m, const member& me,
                          rows_share rows) {
  const auto& w = layer(unit).of(m);
  quantise(w, rows);
  shrink(unit, with, m, rows);
  me.meet();
  multiply(unit, with, m, columns(me, w.s8.out));
  me.meet();
}

/// Back through it, from `dy` to `input_gradient`: dx = dy W + (scale dy B) A. Adds the gradients
/// of A and B.
void layer_units::adapted_back(const unit_place& unit, const lora_set& with, matrix m,
                               const member& me, rows_share rows, const float* dy,
                               const gradient_sink& to) {
  const auto& w = layer(unit).of(m);
  quantise_gradient(w, rows, dy);
  shrink_back(unit, with, m, rows, dy);
  me.meet();
  multiply_back(unit, with, m, columns(me, w.s8.in), dy);
  gather(unit, with, m, me, dy, to);
  me.meet();
}

void layer_units::quantise(const linear_weights& w, rows_share rows) {
  for (std::uint32_t r = rows.first; w.f32 == nullptr && r < rows.last; ++r)
    kernels_.quantise(work_.input(r), w.s8, work_.quantised, r);
}

void layer_units::quantise_gradient(const linear_weights& w, rows_share rows, const float* dy) {
  for (std::uint32_t r = rows.first; w.f32 == nullptr && r < rows.last; ++r)
    training_.quantise_gradient(dy + r * work_.wide_stride, w.s8, work_.gradients, r,
                                tail::rounded);
}

/// scale x At, which is kept.
void layer_units::shrink(const unit_place& unit, const lora_set& with, matrix m, rows_share rows) {
  const auto& product = with.of(unit.layer, m);
  if (product.ranks == 0 || rows.first == rows.last) return;
  const std::uint32_t count = rows.last - rows.first;
  float* t = saved_.t(unit.layer, unit.window.first + rows.first) + product.column;
  training_.product({.a = work_.input(rows.first),
                     .a_row = work_.input_stride,
                     .b = with.turned_a() + product.turned_a,
                     .b_row = product.ranks,
                     .c = t,
                     .c_row = saved_.ranks(),
                     .rows = count,
                     .depth = product.in,
                     .columns = product.ranks});
  for (const auto& target : product.targets)
    for (std::uint32_t r = 0; r < count; ++r)
      training_.scale(target.scale, target.rank,
                      t + std::size_t{r} * saved_.ranks() + target.column);
}

/// scale dy B, which stays in t_gradient.
void layer_units::shrink_back(const unit_place& unit, const lora_set& with, matrix m,
                              rows_share rows, const float* dy) {
  if (rows.first == rows.last) return;
  const std::uint32_t count = rows.last - rows.first;
  for (const auto& target : with.of(unit.layer, m).targets) {
    float* dt = work_.t_gradient(rows.first) + target.column;
    training_.product({.a = dy + rows.first * work_.wide_stride + target.first_output,
                       .a_row = work_.wide_stride,
                       .b = with.plain_b() + target.plain_b,
                       .b_row = target.rank,
                       .c = dt,
                       .c_row = work_.t_stride,
                       .rows = count,
                       .depth = target.out,
                       .columns = target.rank});
    for (std::uint32_t r = 0; r < count; ++r)
      training_.scale(target.scale, target.rank, dt + r * work_.t_stride);
  }
}

/// Some outputs of all rows.
void layer_units::multiply(const unit_place& unit, const lora_set& with, matrix m,
                           columns_share outputs) {
  const auto& w = layer(unit).of(m);
  if (outputs.first == outputs.last) return;
  if (w.f32 != nullptr)
    product_f32(work_.input(0), work_.input_stride, unit.window.count, w.s8.in, w.f32,
                outputs.first, outputs.last, work_.wide(0), work_.wide_stride);
  else
    kernels_.gemm(work_.quantised, unit.window.count, w.s8, outputs.first, outputs.last,
                  work_.wide(0), work_.wide_stride);
  const auto& product = with.of(unit.layer, m);
  for (const auto& target : product.targets) {
    const std::uint32_t begin = std::max(outputs.first, target.first_output),
                        end = std::min(outputs.last, target.first_output + target.out);
    if (begin >= end) continue;
    training_.product(
        {.a = saved_.t(unit.layer, unit.window.first) + product.column + target.column,
         .a_row = saved_.ranks(),
         .b = with.values().data() + target.b + (begin - target.first_output),
         .b_row = target.out,
         .c = work_.wide(0) + begin,
         .c_row = work_.wide_stride,
         .rows = unit.window.count,
         .depth = target.rank,
         .columns = end - begin,
         .add = true});
  }
}

/// Gradients of some inputs of all rows.
void layer_units::multiply_back(const unit_place& unit, const lora_set& with, matrix m,
                                columns_share inputs, const float* dy) {
  const auto& w = layer(unit).of(m);
  if (inputs.first == inputs.last) return;
  if (w.f32 != nullptr)  // all of them: its team is of one
    product_f32_back(dy, work_.wide_stride, unit.window.count, w.s8.out, w.f32, w.s8.in,
                     work_.input_gradient(0), work_.input_stride);
  else
    training_.gemm_back(work_.gradients, unit.window.count, w.s8, inputs.first, inputs.last,
                        work_.input_gradient(0), work_.input_stride);
  for (const auto& target : with.of(unit.layer, m).targets)
    training_.product({.a = work_.t_gradient(0) + target.column,
                       .a_row = work_.t_stride,
                       .b = with.values().data() + target.a + inputs.first,
                       .b_row = target.in,
                       .c = work_.input_gradient(0) + inputs.first,
                       .c_row = work_.input_stride,
                       .rows = unit.window.count,
                       .depth = target.rank,
                       .columns = inputs.last - inputs.first,
                       .add = true});
}

/// Adds the window's gradients of A and B; each member takes columns, each sum runs over all rows.
void layer_units::gather(const unit_place& unit, const lora_set& with, matrix m, const member& me,
                         const float* dy, const gradient_sink& to) {
  const auto& product = with.of(unit.layer, m);
  const float* t =
      product.ranks == 0 ? nullptr : saved_.t(unit.layer, unit.window.first) + product.column;
  for (const auto& target : product.targets) {
    if (to.which != trained_factors::b_only) {
      const auto [first, last] = me.part(target.in, 16);
      training_.product({.a = work_.t_gradient(0) + target.column,
                         .a_row = 1,
                         .a_column = work_.t_stride,
                         .b = work_.input(0) + first,
                         .b_row = work_.input_stride,
                         .c = to.values.data() + target.a + first,
                         .c_row = target.in,
                         .rows = target.rank,
                         .depth = unit.window.count,
                         .columns = last - first,
                         .add = true});
    }
    if (to.which == trained_factors::a_only) continue;
    const auto [first, last] = me.part(target.out, 16);
    training_.product({.a = t + target.column,
                       .a_row = 1,
                       .a_column = saved_.ranks(),
                       .b = dy + target.first_output + first,
                       .b_row = work_.wide_stride,
                       .c = to.values.data() + target.b + first,
                       .c_row = target.out,
                       .rows = target.rank,
                       .depth = unit.window.count,
                       .columns = last - first,
                       .add = true});
  }
}

}  // namespace collm::engine
