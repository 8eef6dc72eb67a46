#include "deploy/adapter_row.hpp"

#include "actors/shadow_task.hpp"
#include "engine/adapter/adapter.hpp"

namespace collm::deploy {

std::vector<float> row_of(const engine::adapter& a) {
  return actors::values_of(engine::adapter_factors(a));
}

result<engine::adapter_ptr> adapter_of_row(const engine::adapter& like,
                                           std::span<const float> row) {
  std::vector<std::span<const float>> values;
  std::size_t at = 0;
  const auto factors = engine::adapter_factors(like);
  for (const auto& f : factors) {
    if (row.size() - at < f.values.size()) break;
    values.push_back(row.subspan(at, f.values.size()));
    at += f.values.size();
  }
  if (at != row.size() || values.size() != factors.size())
    return error{errc::bad_request,
                 "a row of " + std::to_string(row.size()) + " numbers does not make this adapter"};
  return engine::adapter_with_factors(like, values);
}

federation::adapter_shape shape_of(const engine::adapter& a) {
  federation::adapter_shape shape;
  for (const auto& layer : a.layers)
    for (const auto& pair : layer)
      if (pair.rank > 0) shape.pairs.push_back({pair.rank, pair.in, pair.out, pair.scale});
  return shape;
}

}  // namespace collm::deploy
