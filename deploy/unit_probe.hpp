// How large training's units may be on this machine: measured once, before anything is trained.
// Their sizes decide numbers (gradients are summed window by window), so what was found is kept
// beside the shadows' checkpoints and stands for as long as it is about the same thing.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "coordinator/unit_times.hpp"
#include "engine/engine.hpp"
#include "engine/training.hpp"

namespace collm::deploy {

/// Trains one batch of one sample, `rows` + 1 tokens long, and takes the shortest time of each kind
/// of unit: others may be at work on this machine, and none makes a unit shorter. `on` is spent.
result<coordinator::unit_times> measure_units(engine::trainer& on, std::uint32_t rows,
                                              const std::function<double()>& now_ms);

/// The largest units within `unit_max_ms`: `most`, either part halved and measured again while it
/// is longer. What does not end in time at the smallest is refused by name (conflict).
result<coordinator::unit_sizes> fitting_sizes(
    double unit_max_ms, coordinator::unit_sizes most,
    const std::function<result<coordinator::unit_times>(coordinator::unit_sizes)>& measure);

/// Both for trainers of `parent` with options `o`, in real time: what a node trains with.
result<coordinator::unit_sizes> probe_unit_sizes(const engine::base_ptr& base,
                                                 const engine::adapter_ptr& parent,
                                                 engine::training_options o, double unit_max_ms);

/// What `file` keeps about `what` (base, rank, threads, maxUnit: one line), or what `measure`
/// finds, which is kept then. A file about something else or a damaged one is measured anew.
result<coordinator::unit_sizes> kept_unit_sizes(
    const std::filesystem::path& file, const std::string& what,
    const std::function<result<coordinator::unit_sizes>()>& measure);

}  // namespace collm::deploy
