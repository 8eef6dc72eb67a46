// layer_units: one layer back over a window. Each step prepares rows, then the team goes back
// through a product, each member for some of its inputs.
#include <algorithm>
#include <cstring>

#include "engine/train/layer_units.hpp"
#include "messages/assert.hpp"

namespace collm::engine {
namespace {

constexpr std::uint32_t head_dim_max = 1024;

}  // namespace

/// flow: gradient of the layer's output. wide_gradient: of what `down` gave; input: what it read.
void layer_units::down_back(const unit_place& unit, rows_share rows) {
  const auto& s = shape();
  const auto gate = s.gate == gate_kind::silu ? kernels_.swiglu : kernels_.geglu;
  for (std::uint32_t r = rows.first; r < rows.last; ++r) {
    const std::uint32_t at = unit.window.first + r;
    float* dy = work_.wide_gradient(r);
    if (const float* norm = layer(unit).post_ffn_norm; norm == nullptr) {
      std::memcpy(dy, work_.flow(r), s.hidden * sizeof(float));
    } else {
      saved_.load(saved_row::down_out, unit.layer, at, work_.wide(r));
      std::fill_n(dy, s.hidden, 0.0f);
      training_.rms_norm_back(work_.wide(r), norm, work_.flow(r), s.hidden, s.norm_epsilon, dy);
    }
    saved_.load(saved_row::gate_up, unit.layer, at, work_.wide(r));
    gate(work_.wide(r), work_.wide(r) + s.ffn, s.ffn, work_.input(r));
  }
}

/// wide: gate and up, which become their gradients.
void layer_units::gate_back(const unit_place& unit, rows_share rows) {
  const auto& s = shape();
  const auto back = s.gate == gate_kind::silu ? training_.swiglu_back : training_.geglu_back;
  for (std::uint32_t r = rows.first; r < rows.last; ++r) {
    back(work_.input_gradient(r), s.ffn, work_.wide(r), work_.wide(r) + s.ffn);
    kernels_.rms_norm(saved_.middle(unit.layer, unit.window.first + r), layer(unit).ffn_norm,
                      s.hidden, s.norm_epsilon, work_.input(r));
  }
}

void layer_units::output_back(const unit_place& unit, rows_share rows) {
  const auto& s = shape();
  const auto& w = layer(unit);
  for (std::uint32_t r = rows.first; r < rows.last; ++r) {
    const std::uint32_t at = unit.window.first + r;
    float *flow = work_.flow(r), *dy = work_.wide_gradient(r);
    training_.rms_norm_back(saved_.middle(unit.layer, at), w.ffn_norm, work_.input_gradient(r),
                            s.hidden, s.norm_epsilon, flow);
    if (w.post_attention_norm == nullptr) {
      std::memcpy(dy, flow, s.hidden * sizeof(float));
    } else {
      saved_.load(saved_row::o_out, unit.layer, at, work_.wide(r));
      std::fill_n(dy, s.hidden, 0.0f);
      training_.rms_norm_back(work_.wide(r), w.post_attention_norm, flow, s.hidden, s.norm_epsilon,
                              dy);
    }
    saved_.load(saved_row::heads, unit.layer, at, work_.input(r));
  }
}

/// The gradients of one row's queries and keys before rotation and head norm.
void layer_units::turn_back(const unit_place& unit, std::uint32_t row, float* gradient) {
  const auto& s = shape();
  const auto& w = layer(unit);
  const std::uint32_t at = unit.window.first + row, position = unit.pass->rows[at].position;
  COLLM_ASSERT(s.head_dim <= head_dim_max);
  float against[head_dim_max / 2], before[head_dim_max];  // the inverse turns by minus the angle
  const float* sines = angles(unit.layer).sines(position);
  for (std::uint32_t i = 0; i < s.head_dim / 2; ++i) against[i] = -sines[i];
  if (w.q_norm != nullptr) saved_.load(saved_row::raw_qk, unit.layer, at, work_.wide(row));
  for (std::uint32_t h = 0; h < s.heads + s.kv_heads; ++h, gradient += s.head_dim) {
    kernels_.rotate(gradient, angles(unit.layer).cosines(position), against, s.head_dim);
    const float* norm = h < s.heads ? w.q_norm : w.k_norm;
    if (norm == nullptr) continue;
    std::fill_n(before, s.head_dim, 0.0f);
    training_.rms_norm_back(work_.wide(row) + std::size_t{h} * s.head_dim, norm, gradient,
                            s.head_dim, s.norm_epsilon, before);
    std::memcpy(gradient, before, s.head_dim * sizeof(float));
  }
}

/// Adds up what the slices left for keys and values, those of later windows before: of this
/// window's rows into wide_gradient, of earlier rows into what is carried to their window.
void layer_units::keys_back(const unit_place& unit, const member& me, rows_share rows) {
  const auto width = static_cast<std::uint32_t>(left_.width());
  float* before = carried(unit);
  const auto add_slices = [&](std::uint32_t row, float* to) {
    for (std::size_t slice = 0; slice < left_.slices(); ++slice)
      kernels_.add(left_.of(slice, row), width, to);
  };
  for (std::uint32_t r = rows.first; r < rows.last; ++r) {
    const std::uint32_t at = unit.window.first + r;
    float* to = work_.wide_gradient(r) + shape().heads * shape().head_dim;
    if (before == nullptr)
      std::fill_n(to, width, 0.0f);
    else
      std::memcpy(to, before + std::size_t{at} * width, width * sizeof(float));
    add_slices(at, to);
  }
  if (before == nullptr) return;
  const auto [first, last] = me.part(unit.window.first, 1);
  for (std::uint32_t row = first; row < last; ++row)
    add_slices(row, before + std::size_t{row} * width);
}

void layer_units::queries_back(const unit_place& unit, rows_share rows) {
  const auto& s = shape();
  for (std::uint32_t r = rows.first; r < rows.last; ++r) {
    turn_back(unit, r, work_.wide_gradient(r));
    kernels_.rms_norm(saved_.residual(unit.layer, unit.window.first + r),
                      layer(unit).attention_norm, s.hidden, s.norm_epsilon, work_.input(r));
  }
}

void layer_units::input_back(const unit_place& unit, rows_share rows) {
  const auto& s = shape();
  for (std::uint32_t r = rows.first; r < rows.last; ++r)
    training_.rms_norm_back(saved_.residual(unit.layer, unit.window.first + r),
                            layer(unit).attention_norm, work_.input_gradient(r), s.hidden,
                            s.norm_epsilon, work_.flow(r));
}

void layer_units::back(const unit_place& unit, const lora_set& with, const gradient_sink& to) {
  parts_ = attention_parts(unit, shape());
  // Where nothing is predicted there is no loss head unit: only later windows have gradients here.
  if (unit.layer + 1 == shape().layers && unit.window.losses == 0)
    for (std::uint32_t r = 0; r < unit.window.count; ++r)
      std::fill_n(work_.flow(r), shape().hidden, 0.0f);
  together([&](const member& me) {
    const auto rows = share(me, unit.window.count);
    const auto through = [&](matrix m, const float* dy) {
      adapted_back(unit, with, m, me, rows, dy, to);
    };
    down_back(unit, rows);
    through(matrix::down, work_.wide_gradient(0));
    gate_back(unit, rows);
    through(matrix::gate_up, work_.wide(0));
    output_back(unit, rows);
    through(matrix::o, work_.wide_gradient(0));
    for (std::size_t i = me.index; i < parts_.size(); i += me.members)
      attention_.back(unit, parts_[i], scratch_[me.index], work_.input_gradient(0),
                      work_.input_stride, work_.wide_gradient(0), work_.wide_stride, left_);
    me.meet();
    keys_back(unit, me, rows);
    queries_back(unit, rows);
    through(matrix::qkv, work_.wide_gradient(0));
    input_back(unit, rows);
  });
}

}  // namespace collm::engine
