// What a shadow knows of the task that it works on, as the note of its checkpoints keeps it, and
// the change of factors that it ends with. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "actors/batch_source.hpp"
#include "engine/training.hpp"
#include "messages/result.hpp"

namespace collm::actors {

struct shadow_task {
  std::uint32_t round = 0, attempt = 1;
  std::uint32_t step = 0;   ///< optimizer steps of this task so far
  std::int64_t tokens = 0;  ///< trained on in this task
  data_cursor cursor;
  friend bool operator==(const shadow_task&, const shadow_task&) = default;
};

std::string to_note(const shadow_task& t);
/// corrupt: it was not written by to_note.
result<shadow_task> task_of_note(std::string_view note);

/// What a shadow's checkpoints are named after.
std::string shadow_name(std::string replica, const std::string& adapter);

/// All numbers of the factors, in their order.
std::vector<float> values_of(const std::vector<engine::factor>& factors);
/// Of each pair, in the order of federation::adapter_shape.
std::vector<std::uint32_t> ranks_of(const std::vector<engine::factor>& factors);
/// after - before of the factors that `which` trains, in the order of federation::places().
std::vector<float> change_of(const std::vector<engine::factor>& after,
                             std::span<const float> before, engine::trained_factors which);

}  // namespace collm::actors
