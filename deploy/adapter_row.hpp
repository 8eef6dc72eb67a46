// An adapter version as one row of numbers, as federation adds them up: by layer, then target, A
// before B; and back.
#pragma once

#include <span>
#include <vector>

#include "engine/engine.hpp"
#include "federation/shape.hpp"

namespace collm::deploy {

std::vector<float> row_of(const engine::adapter& a);
/// A version shaped as `like`. bad_request: the row has another length, or holds no finite number.
result<engine::adapter_ptr> adapter_of_row(const engine::adapter& like, std::span<const float> row);
federation::adapter_shape shape_of(const engine::adapter& a);

}  // namespace collm::deploy
