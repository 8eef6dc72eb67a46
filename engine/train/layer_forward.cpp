// layer_units: one layer forward over a window.
#include <cstring>

#include "engine/train/layer_units.hpp"

namespace collm::engine {

/// Bias, head norm and rotation of one row's queries and keys.
void layer_units::turn(const unit_place& unit, std::uint32_t row, float* qkv) {
  const auto& s = shape();
  const auto& w = layer(unit);
  const std::uint32_t at = unit.window.first + row, position = unit.pass->rows[at].position,
                      q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  if (w.q_bias != nullptr) kernels_.add(w.q_bias, q, qkv);
  if (w.k_bias != nullptr) kernels_.add(w.k_bias, kv, qkv + q);
  if (w.v_bias != nullptr) kernels_.add(w.v_bias, kv, qkv + q + kv);
  if (saved_.width(saved_row::raw_qk) != 0) saved_.keep(saved_row::raw_qk, unit.layer, at, qkv);
  for (std::uint32_t h = 0; h < s.heads + s.kv_heads; ++h, qkv += s.head_dim) {
    const float* norm = h < s.heads ? w.q_norm : w.k_norm;
    if (norm != nullptr) kernels_.rms_norm(qkv, norm, s.head_dim, s.norm_epsilon, qkv);
    kernels_.rotate(qkv, angles(unit.layer).cosines(position), angles(unit.layer).sines(position),
                    s.head_dim);
  }
}

void layer_units::read(const unit_place& unit, rows_share rows) {
  for (std::uint32_t r = rows.first; r < rows.last; ++r) {
    if (unit.layer == 0) embed(unit, r);
    kernels_.rms_norm(saved_.residual(unit.layer, unit.window.first + r),
                      layer(unit).attention_norm, shape().hidden, shape().norm_epsilon,
                      work_.input(r));
  }
}

void layer_units::turn_all(const unit_place& unit, rows_share rows) {
  for (std::uint32_t r = rows.first; r < rows.last; ++r) {
    turn(unit, r, work_.wide(r));
    saved_.keep(saved_row::qkv, unit.layer, unit.window.first + r, work_.wide(r));
  }
}

/// to = from + what the product gave, behind a norm where the architecture has one.
void layer_units::add_residual(const unit_place& unit, saved_row raw, const float* norm,
                               std::uint32_t row, const float* from, float* to) {
  const auto& s = shape();
  float* given = work_.wide(row);
  if (norm != nullptr) {
    saved_.keep(raw, unit.layer, unit.window.first + row, given);
    kernels_.rms_norm(given, norm, s.hidden, s.norm_epsilon, given);
  }
  std::memcpy(to, from, s.hidden * sizeof(float));
  kernels_.add(given, s.hidden, to);
}

void layer_units::to_middle(const unit_place& unit, rows_share rows) {
  const auto& s = shape();
  const auto& w = layer(unit);
  for (std::uint32_t r = rows.first; r < rows.last; ++r) {
    const std::uint32_t at = unit.window.first + r;
    float* middle = saved_.middle(unit.layer, at);
    add_residual(unit, saved_row::o_out, w.post_attention_norm, r, saved_.residual(unit.layer, at),
                 middle);
    kernels_.rms_norm(middle, w.ffn_norm, s.hidden, s.norm_epsilon, work_.input(r));
  }
}

void layer_units::gate(const unit_place& unit, rows_share rows) {
  const auto& s = shape();
  const auto gate = s.gate == gate_kind::silu ? kernels_.swiglu : kernels_.geglu;
  for (std::uint32_t r = rows.first; r < rows.last; ++r) {
    saved_.keep(saved_row::gate_up, unit.layer, unit.window.first + r, work_.wide(r));
    gate(work_.wide(r), work_.wide(r) + s.ffn, s.ffn, work_.input(r));
  }
}

void layer_units::to_next(const unit_place& unit, rows_share rows) {
  for (std::uint32_t r = rows.first; r < rows.last; ++r) {
    const std::uint32_t at = unit.window.first + r;
    add_residual(unit, saved_row::down_out, layer(unit).post_ffn_norm, r,
                 saved_.middle(unit.layer, at), saved_.residual(unit.layer + 1, at));
  }
}

void layer_units::forward(const unit_place& unit, const lora_set& with) {
  parts_ = attention_parts(unit, shape());
  together([&](const member& me) {
    const auto rows = share(me, unit.window.count);
    read(unit, rows);
    adapted(unit, with, matrix::qkv, me, rows);
    turn_all(unit, rows);
    me.meet();
    for (std::size_t i = me.index; i < parts_.size(); i += me.members)
      attention_.forward(unit, parts_[i], scratch_[me.index], work_.input(0), work_.input_stride);
    me.meet();
    for (std::uint32_t r = rows.first; r < rows.last; ++r)
      saved_.keep(saved_row::heads, unit.layer, unit.window.first + r, work_.input(r));
    adapted(unit, with, matrix::o, me, rows);
    to_middle(unit, rows);
    adapted(unit, with, matrix::gate_up, me, rows);
    gate(unit, rows);
    adapted(unit, with, matrix::down, me, rows);
    to_next(unit, rows);
  });
}

}  // namespace collm::engine
