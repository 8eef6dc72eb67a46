#include "deploy/adapter_export.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "engine/adapter/gguf_lora.hpp"
#include "engine/adapter/peft.hpp"

namespace collm::deploy {
namespace {

static_assert(std::endian::native == std::endian::little, "factors are read as they lie");

const adapter_spec* find_spec(const spawn_plan& plan, const std::string& name) {
  const auto found = std::find_if(plan.adapters.begin(), plan.adapters.end(),
                                  [&](const adapter_spec& a) { return a.name == name; });
  return found == plan.adapters.end() ? nullptr : &*found;
}

/// The adapter with zeros for factors, in the shape of `spec`.
engine::adapter shaped(const engine::model_shape& shape, const adapter_spec& spec) {
  engine::adapter out;
  out.layers.resize(shape.layers);
  for (auto& layer : out.layers) {
    for (std::size_t t = 0; t < engine::targets_count; ++t) {
      const bool wanted = std::find(spec.targets.begin(), spec.targets.end(),
                                    engine::target_names[t]) != spec.targets.end();
      if (!wanted) continue;
      const auto [rows, columns] = engine::target_shape(shape, static_cast<engine::target>(t));
      auto& pair = layer[t];
      pair.rank = spec.rank;
      pair.in = columns;
      pair.out = rows;
      pair.scale = spec.alpha / static_cast<float>(spec.rank);
      pair.a.resize(std::size_t{spec.rank} * columns);
      pair.b.resize(std::size_t{rows} * spec.rank);
    }
  }
  return out;
}

template <class F>
void each_factor(engine::adapter& of, F&& f) {
  for (auto& layer : of.layers) {
    for (auto& pair : layer) {
      if (pair.rank == 0) continue;
      f(pair.a);
      f(pair.b);
    }
  }
}

}  // namespace

result<void> export_adapter(const spawn_plan& plan, const std::string& adapter,
                            std::span<const std::uint8_t> factors, const export_target& to) {
  const auto* spec = find_spec(plan, adapter);
  if (spec == nullptr)
    return error{errc::not_found, "adapter '" + adapter + "' is not in the manifest"};
  auto made = shaped(plan.model.shape, *spec);
  std::size_t bytes = 0;
  each_factor(made, [&](std::vector<float>& f) { bytes += f.size() * sizeof(float); });
  if (bytes != factors.size()) {
    return error{errc::bad_request,
                 "the factors of " + adapter + " are " + std::to_string(factors.size()) +
                     " bytes; by the manifest (rank " + std::to_string(spec->rank) + ", " +
                     std::to_string(spec->targets.size()) + " targets) they would be " +
                     std::to_string(bytes) + ": name the cluster's own manifest"};
  }
  const auto* at = factors.data();
  each_factor(made, [&](std::vector<float>& f) {
    std::memcpy(f.data(), at, f.size() * sizeof(float));
    at += f.size() * sizeof(float);
  });
  engine::seal(made);
  if (!to.peft_folder.empty()) {
    if (auto ok = engine::save_peft(made, plan.model.name, to.peft_folder); !ok) return ok;
  }
  if (to.gguf_file.empty()) return {};
  return engine::save_gguf_lora(made, plan.model.shape, to.gguf_file);
}

}  // namespace collm::deploy
