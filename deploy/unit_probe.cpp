#include "deploy/unit_probe.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <limits>

#include "actors/training_turn.hpp"
#include "store/disk.hpp"

namespace collm::deploy {

namespace {

constexpr std::int32_t any_token = 1;

double steady_ms() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

result<coordinator::unit_times> measure_units(engine::trainer& on, std::uint32_t rows,
                                              const std::function<double()>& now_ms) {
  std::array<coordinator::measured_unit, engine::unit_kinds_count> shortest;
  shortest.fill({.ms = std::numeric_limits<double>::infinity()});
  auto begun = on.begin_batch({{.tokens = std::vector<std::int32_t>(rows + 1, any_token)}});
  if (!begun) return begun.failure();
  while (const auto unit = on.next()) {
    const double from = now_ms();
    if (auto done = on.run(); !done) return done.failure();
    auto& kept = shortest[static_cast<std::size_t>(unit->kind)];
    // A shorter unit of fewer rows says less of the longest.
    const double ms = now_ms() - from;
    if (unit->tokens > kept.tokens || (unit->tokens == kept.tokens && ms < kept.ms))
      kept = {actors::kind_of(unit->kind), unit->tokens, ms};
  }
  coordinator::unit_times times({});
  for (const auto& unit : shortest) (void)times.observe(unit);  // 0 ms teaches nothing
  return times;
}

result<coordinator::unit_sizes> fitting_sizes(
    double unit_max_ms, coordinator::unit_sizes most,
    const std::function<result<coordinator::unit_times>(coordinator::unit_sizes)>& measure) {
  using enum coordinator::unit_kind;
  for (auto sizes = most;;) {
    const auto times = measure(sizes);
    if (!times) return times.failure();
    if (times->longest_ms(sizes) <= unit_max_ms) return sizes;
    auto next = sizes;
    if (std::max(times->bound_ms(layer_forward, sizes.window_tokens),
                 times->bound_ms(layer_backward, sizes.window_tokens)) > unit_max_ms)
      next.window_tokens = coordinator::half_rows(sizes.window_tokens, coordinator::window_step);
    if (times->bound_ms(loss_head, sizes.head_tokens) > unit_max_ms)
      next.head_tokens = coordinator::half_rows(sizes.head_tokens, coordinator::head_step);
    if (next == sizes) return times->sizes_for(unit_max_ms, sizes);  // refuses by name
    sizes = next;
  }
}

result<coordinator::unit_sizes> probe_unit_sizes(const engine::base_ptr& base,
                                                 const engine::adapter_ptr& parent,
                                                 engine::training_options o, double unit_max_ms) {
  const auto measure = [&](coordinator::unit_sizes sizes) -> result<coordinator::unit_times> {
    o.window_tokens = sizes.window_tokens;
    o.head_tokens = sizes.head_tokens;
    auto trainer = engine::make_trainer(base, parent, o);
    if (!trainer) return trainer.failure();
    return measure_units(**trainer, std::min(o.window_tokens, o.sample_tokens - 1), steady_ms);
  };
  return fitting_sizes(unit_max_ms, {o.window_tokens, o.head_tokens}, measure);
}

result<coordinator::unit_sizes> kept_unit_sizes(
    const std::filesystem::path& file, const std::string& what,
    const std::function<result<coordinator::unit_sizes>()>& measure) {
  std::ifstream in(file);
  std::string about;
  coordinator::unit_sizes sizes;
  const auto whole = [](std::uint32_t rows, std::uint32_t step) {
    return rows > 0 && rows % step == 0;
  };
  if (std::getline(in, about) && about == what && in >> sizes.window_tokens >> sizes.head_tokens &&
      whole(sizes.window_tokens, coordinator::window_step) &&
      whole(sizes.head_tokens, coordinator::head_step))
    return sizes;
  auto found = measure();
  if (!found) return found;
  const auto text = what + "\n" + std::to_string(found->window_tokens) + " " +
                    std::to_string(found->head_tokens) + "\n";
  auto kept = store::real_disk().replace(file, {std::as_bytes(std::span(text))});
  if (!kept) return kept.failure();
  return found;
}

}  // namespace collm::deploy
