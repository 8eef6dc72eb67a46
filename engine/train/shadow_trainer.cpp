#include "engine/train/shadow_trainer.hpp"

#include <algorithm>
#include <cmath>

#include "messages/assert.hpp"

namespace collm::engine {

shadow_trainer::shadow_trainer(std::shared_ptr<const packed_base> base, adapter_ptr parent,
                               const training_options& options)
    : base_(std::move(base)),
      options_(options),
      parent_(first_directions(parent, options.rank)),
      set_(base_->shape(), *parent_),
      room_(parent_ == parent ? room_for(set_) : room_for(lora_set(base_->shape(), *parent))),
      optimizer_(options_, set_.values().size()),
      units_(base_, options_, room_.row_ranks, room_.product_ranks) {
  declared_ = plan(*base_, set_, room_, options_);
  if (options_.prox_mu != 0) parent_values_.assign(set_.values().begin(), set_.values().end());
}

/// The shadow, a version under evaluation beside it, and what prox pulls to.
training_memory shadow_trainer::plan(const packed_base& base, const lora_set& own,
                                     const version_room& largest, const training_options& options) {
  const std::uint64_t numbers = own.values().size_bytes();
  training_memory m;
  m.factors = own.bytes() + largest.bytes + (options.prox_mu != 0 ? numbers : 0);
  m.optimizer = 3 * numbers;
  m.activations = layer_units::bytes_for(base, options, largest.row_ranks, largest.product_ranks);
  return m;
}

training_memory shadow_trainer::used() const {
  training_memory m;
  m.factors = set_.bytes() + parent_values_.size() * sizeof(float);
  if (job_ && job_->version) m.factors += job_->version->bytes();
  m.optimizer = optimizer_.bytes();
  m.activations = units_.bytes();
  return m;
}

result<void> shadow_trainer::idle(const char* what) const {
  if (!job_) return {};
  return error{errc::conflict, std::string(what) +
                                   " must wait: " + (job_->scoring ? "an evaluation" : "a batch") +
                                   " is in progress; finish or abandon it first"};
}

result<void> shadow_trainer::begin_batch(std::vector<training_sample> samples) {
  if (auto free = idle("a batch"); !free) return free;
  if (auto good = check_samples(samples, base_->shape(), options_, options_.batch_tokens); !good)
    return good;
  optimizer_.clear_gradients();
  begin(std::move(samples), false);
  return {};
}

result<void> shadow_trainer::begin_evaluation(std::vector<training_sample> samples,
                                              adapter_ptr version) {
  if (auto free = idle("an evaluation"); !free) return free;
  if (auto good = check_samples(samples, base_->shape(), options_, 0); !good) return good;
  std::unique_ptr<lora_set> scored;
  if (version != nullptr) {
    scored = std::make_unique<lora_set>(base_->shape(), *version);
    if (scored->row_ranks() > room_.row_ranks || scored->product_ranks() > room_.product_ranks)
      return error{errc::bad_request,
                   "the version to evaluate has larger ranks than this trainer's parent"};
  }
  begin(std::move(samples), true);
  job_->version = std::move(scored);
  return {};
}

void shadow_trainer::begin(std::vector<training_sample> samples, bool scoring) {
  auto& j = job_.emplace();
  j.scoring = scoring;
  j.batch.samples = static_cast<std::uint32_t>(samples.size());
  for (const auto& s : samples) {
    const auto tokens = static_cast<std::uint32_t>(s.tokens.size());
    j.batch.tokens += tokens;
    j.batch.completion_tokens += tokens - s.prompt_tokens;
    if (scoring) j.scores.push_back({0, tokens - s.prompt_tokens, true});
  }
  j.passes = pack_samples(samples, options_.window_tokens);
  plan_pass();
}

void shadow_trainer::abandon() { job_.reset(); }

/// Windows forward through all layers; then, window by window from the last, loss and layers back.
void shadow_trainer::plan_pass() {
  auto& j = *job_;
  const auto& pass = j.passes[j.pass];
  const auto windows = static_cast<std::uint32_t>(pass.windows.size());
  j.unit = 0;
  j.units.clear();
  units_.start(pass);
  for (std::uint32_t w = 0; w < windows; ++w)
    for (std::uint32_t l = 0; l < base_->shape().layers; ++l)
      j.units.push_back({unit_kind::layer_forward, w, l, {}});
  for (std::uint32_t w = windows; w-- > 0;) {
    const std::uint32_t losses = pass.windows[w].losses, most = options_.head_tokens;
    for (std::uint32_t first = 0; first < losses; first += most)
      j.units.push_back({unit_kind::loss_head, w, 0, {first, std::min(most, losses - first)}});
    for (std::uint32_t l = base_->shape().layers; !j.scoring && l-- > 0;)
      j.units.push_back({unit_kind::layer_backward, w, l, {}});
  }
  if (!j.scoring && j.pass + 1 == j.passes.size())
    j.units.push_back({unit_kind::optimizer_step, 0, 0, {}});
}

std::optional<training_unit> shadow_trainer::next() const {
  if (!job_) return std::nullopt;
  const auto& u = job_->units[job_->unit];
  const auto& window = job_->passes[job_->pass].windows[u.window];
  if (u.kind == unit_kind::optimizer_step) return training_unit{u.kind, 0};
  return training_unit{u.kind, u.kind == unit_kind::loss_head ? u.losses.count : window.count};
}

result<unit_report> shadow_trainer::run() {
  if (!job_)
    return error{errc::conflict, "no batch and no evaluation is in progress: begin one first"};
  auto& j = *job_;
  const auto unit = j.units[j.unit];
  if (unit.kind == unit_kind::optimizer_step) return finish_batch();
  run_unit(unit);
  if (++j.unit < j.units.size()) return unit_report{};
  if (++j.pass == j.passes.size()) return finish_scores();
  plan_pass();
  return unit_report{};
}

void shadow_trainer::run_unit(const planned_unit& unit) {
  auto& j = *job_;
  const auto& pass = j.passes[j.pass];
  const unit_place place{unit.layer, &pass, pass.windows[unit.window]};
  if (unit.kind == unit_kind::layer_forward) return units_.forward(place, active());
  if (unit.kind == unit_kind::layer_backward)
    return units_.back(place, set_, {optimizer_.gradients(), options_.factors});
  if (j.scoring) return add_scores(place, unit.losses, units_.score(place, unit.losses));
  const float weight = 1.0f / static_cast<float>(j.batch.completion_tokens);
  for (const auto& row : units_.loss(place, unit.losses, weight)) j.loss += row.cross_entropy;
}

void shadow_trainer::add_scores(const unit_place& place, loss_rows some,
                                std::span<const row_loss> losses) {
  std::uint32_t seen = 0;
  for (const auto& s : place.pass->samples) {
    auto& score = job_->scores[s.index];
    const std::uint32_t first = std::max(s.first, place.window.first),
                        last = std::min(s.first + s.count, place.window.first + place.window.count);
    for (std::uint32_t r = first; r < last; ++r) {
      if (place.pass->rows[r].target == no_target) continue;
      const std::uint32_t at = seen++ - some.first;
      if (at >= some.count) continue;  // of another unit
      score.cross_entropy += losses[at].cross_entropy;
      score.exact = score.exact && losses[at].most_likely;
    }
  }
}

unit_report shadow_trainer::finish_scores() {
  for (auto& s : job_->scores) s.cross_entropy /= s.completion_tokens;
  unit_report report;
  report.scores = std::move(job_->scores);
  job_.reset();
  return report;
}

result<unit_report> shadow_trainer::finish_batch() {
  auto done = job_->batch;
  done.loss = job_->loss / done.completion_tokens;
  job_.reset();
  const auto diverged = [&](const char* what) {
    return error{errc::bad_request, std::string("the ") + what + " of step " +
                                        std::to_string(steps() + 1) +
                                        " is no finite number: the batch is dropped; a smaller "
                                        "learning_rate may be right"};
  };
  if (!std::isfinite(done.loss)) return diverged("loss");
  const auto outcome = optimizer_.step(set_, parent_values_, options_.factors);
  if (!outcome) return diverged("gradient");
  done.step = steps();
  done.gradient_norm = outcome->norm;
  done.learning_rate = outcome->rate;
  unit_report report;
  report.batch = done;
  return report;
}

std::vector<factor> shadow_trainer::factors() const {
  std::vector<factor> all;
  for (std::uint32_t l = 0; l < set_.layers(); ++l)
    for (const auto& t : set_.targets(l)) {
      const std::string name = "layers." + std::to_string(l) + "." +
                               target_names[static_cast<std::size_t>(t.which)] + ".";
      const std::size_t a = std::size_t{t.rank} * t.in, b = std::size_t{t.rank} * t.out;
      all.push_back({name + "A", t.rank, t.in, false, set_.values().subspan(t.a, a)});
      all.push_back({name + "B", t.out, t.rank, true, {set_.plain_b() + t.plain_b, b}});
    }
  return all;
}

result<void> shadow_trainer::rebase(adapter_ptr parent, trained_factors which) {
  if (auto free = idle("a new parent"); !free) return free;
  parent = first_directions(parent, options_.rank);
  if (!set_.same_shape(*parent))
    return error{errc::bad_request,
                 "the new parent has other targets, ranks or scales than this shadow"};
  parent_ = std::move(parent);
  set_.take(*parent_);
  options_.factors = which;
  if (options_.prox_mu != 0) parent_values_.assign(set_.values().begin(), set_.values().end());
  return {};
}

checkpoint_owner shadow_trainer::owner() const {
  return {base_->digest(), parent_->digest, options_};
}

result<std::vector<std::uint8_t>> shadow_trainer::checkpoint() const {
  if (auto free = idle("a checkpoint"); !free) return free.failure();
  return write_checkpoint(owner(), set_, optimizer_.saved());
}

result<void> shadow_trainer::resume(std::span<const std::uint8_t> checkpoint) {
  if (auto free = idle("resuming"); !free) return free;
  auto saved = read_checkpoint(checkpoint, owner(), set_.values().size());
  if (!saved) return saved.failure();
  std::ranges::copy(saved->values, set_.values().begin());
  set_.refresh();
  optimizer_.restore(std::move(saved->optimizer));
  return {};
}

result<void> shadow_trainer::take_moments(std::span<const std::uint8_t> checkpoint) {
  if (auto free = idle("taking moments over"); !free) return free;
  auto saved = read_checkpoint(checkpoint, {base_->digest(), "", options_}, set_.values().size());
  if (!saved) return saved.failure();
  optimizer_.restore(std::move(saved->optimizer));
  return {};
}

}  // namespace collm::engine
