// From `model.source` to a file and its shape. Inside deploy/ only.
#pragma once

#include <filesystem>

#include "deploy/manifest.hpp"
#include "deploy/plan.hpp"
#include "messages/result.hpp"

namespace collm::deploy {

/// The file that `spec` names, opened for its header. Refuses with what would be right.
result<model_plan> find_model(const model_spec& spec, const std::filesystem::path& base_dir,
                              const std::filesystem::path& cache_dir);

/// `path` as the manifest means it: relative ones start from `base_dir`.
std::filesystem::path resolve(const std::string& path, const std::filesystem::path& base_dir);

}  // namespace collm::deploy
