#include "deploy/initial_versions.hpp"

namespace collm::deploy {

namespace {

constexpr std::uint64_t initial_seed = 42;  // every process must make the same initial factors

}  // namespace

result<std::vector<actors::initial_version>> initial_versions(const spawn_plan& plan,
                                                              const engine::base_ptr& base) {
  std::vector<actors::initial_version> out;
  for (const auto& a : plan.adapters) {
    const auto make = [base, a] {
      return engine::initial_adapter(*base, a.rank, a.alpha, a.targets, initial_seed);
    };
    auto weights = a.path.empty() ? make() : engine::load_peft(*base, a.path);
    if (!weights)
      return error{weights.failure().code,
                   "adapter '" + a.name + "': " + weights.failure().message};
    if (a.path.empty()) {
      out.push_back({a.name, *weights, "initial", "", make});
    } else {
      const auto folder = std::filesystem::absolute(a.path).lexically_normal().string();
      out.push_back({a.name, *weights, actors::peft_source(folder), folder, {}});
    }
  }
  return out;
}

}  // namespace collm::deploy
