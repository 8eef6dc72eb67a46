// layer_units: from the last residual to losses, and back. Only rows that predict a completion
// token take part.
#include <algorithm>

#include "engine/model/linear_f32.hpp"
#include "engine/train/layer_units.hpp"

namespace collm::engine {
namespace {

bool largest_at(const float* x, std::uint32_t n, std::uint32_t target) {
  std::uint32_t above = 0;
  for (std::uint32_t i = 0; i < n; ++i) above += x[i] > x[target] ? 1 : 0;
  return above == 0;
}

}  // namespace

/// Losses; logits become weight * softmax.
void layer_units::head_forward(const member& me, const unit_place& unit,
                               std::span<const std::uint32_t> rows, bool scoring, float weight,
                               row_loss* losses) {
  const auto& s = shape();
  const auto& w = base_->weights().head;
  const auto count = static_cast<std::uint32_t>(rows.size());
  const auto [begin, end] = me.part(count, 1);
  for (std::uint32_t i = begin; i < end; ++i) {
    kernels_.rms_norm(saved_.residual(s.layers, unit.window.first + rows[i]),
                      base_->weights().output_norm, s.hidden, s.norm_epsilon, work_.input(i));
    if (w.f32 == nullptr) kernels_.quantise(work_.input(i), w.s8, work_.quantised, i);
  }
  me.meet();
  const auto [first, last] = columns(me, s.vocab);
  if (w.f32 != nullptr)
    product_f32(work_.input(0), work_.input_stride, count, s.hidden, w.f32, first, last,
                work_.logits(0), work_.logits_stride);
  else if (first < last)
    kernels_.gemm(work_.quantised, count, w.s8, first, last, work_.logits(0), work_.logits_stride);
  me.meet();
  for (std::uint32_t i = begin; i < end; ++i) {
    const auto target =
        static_cast<std::uint32_t>(unit.pass->rows[unit.window.first + rows[i]].target);
    losses[i].most_likely = scoring && largest_at(work_.logits(i), s.vocab, target);
    losses[i].cross_entropy = training_.cross_entropy(work_.logits(i), s.vocab, target, weight);
  }
}

/// d loss / d logits = weight (softmax - one at the target): the first part goes back through the
/// product, the second is a row of its weights, exact.
void layer_units::head_back(const member& me, const unit_place& unit,
                            std::span<const std::uint32_t> rows, float weight) {
  const auto& s = shape();
  const auto& w = base_->weights().head;
  const auto count = static_cast<std::uint32_t>(rows.size());
  const auto [begin, end] = me.part(count, 1);
  for (std::uint32_t i = begin; w.f32 == nullptr && i < end; ++i)
    training_.quantise_gradient(work_.logits(i), w.s8, work_.head_gradients, i, tail::carried);
  me.meet();
  const auto [first, last] = columns(me, s.hidden);
  if (w.f32 != nullptr)
    product_f32_back(work_.logits(0), work_.logits_stride, count, s.vocab, w.f32, s.hidden,
                     work_.input_gradient(0), work_.input_stride);
  else if (first < last)
    training_.gemm_back(work_.head_gradients, count, w.s8, first, last, work_.input_gradient(0),
                        work_.input_stride);
  me.meet();
  for (std::uint32_t i = begin; i < end; ++i) {
    const std::uint32_t at = unit.window.first + rows[i];
    const auto target = static_cast<std::uint32_t>(unit.pass->rows[at].target);
    const float* of_target = w.f32 + std::size_t{target} * s.hidden;
    if (w.f32 == nullptr) {
      kernels_.dequantise_row(w.s8, target, 1, work_.input(i));
      of_target = work_.input(i);
    }
    training_.add_scaled(of_target, -weight, s.hidden, work_.input_gradient(i));
    training_.rms_norm_back(saved_.residual(s.layers, at), base_->weights().output_norm,
                            work_.input_gradient(i), s.hidden, s.norm_epsilon, work_.flow(rows[i]));
  }
}

std::vector<row_loss> layer_units::losses(const unit_place& unit, loss_rows some, bool scoring,
                                          float weight) {
  std::vector<std::uint32_t> rows;
  for (std::uint32_t r = 0, seen = 0; r < unit.window.count; ++r) {
    if (!scoring && some.first == 0) std::fill_n(work_.flow(r), shape().hidden, 0.0f);
    if (unit.pass->rows[unit.window.first + r].target == no_target) continue;
    if (seen >= some.first && seen < some.first + some.count) rows.push_back(r);
    ++seen;
  }
  std::vector<row_loss> losses(rows.size());
  together([&](const member& me) {
    head_forward(me, unit, rows, scoring, weight, losses.data());
    if (!scoring) head_back(me, unit, rows, weight);
  });
  return losses;
}

std::vector<row_loss> layer_units::loss(const unit_place& unit, loss_rows some, float weight) {
  return losses(unit, some, false, weight);
}

std::vector<row_loss> layer_units::score(const unit_place& unit, loss_rows some) {
  return losses(unit, some, true, 1.0f);
}

}  // namespace collm::engine
