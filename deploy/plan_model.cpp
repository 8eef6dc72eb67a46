#include "deploy/plan_model.hpp"

#include <algorithm>

#include "deploy/manifest_values.hpp"
#include "engine/model/model_source.hpp"

namespace collm::deploy {
namespace fs = std::filesystem;
namespace {

error wrong(std::string message) { return {errc::bad_request, std::move(message)}; }

result<fs::path> find_file(const std::string& source, const fs::path& base_dir,
                           const fs::path& cache_dir) {
  std::error_code ignored;  // a path that cannot be read counts as not there
  const std::vector<std::string> names = catalogue();
  if (std::find(names.begin(), names.end(), source) != names.end()) {
    const fs::path file = cache_dir / "models" / (source + ".gguf");
    if (fs::is_regular_file(file, ignored)) return file;
    return wrong(source + " is not in the cache (" + file.string() + "); ./dev " +
                 (source == names.front() ? "build" : "fetch " + source) +
                 " fetches it, COLLM_CACHE names another cache");
  }
  const fs::path path = resolve(source, base_dir);
  if (path.extension() == ".gguf") {
    if (fs::is_regular_file(path, ignored)) return path;
    return wrong("no file " + path.string());
  }
  if (fs::is_directory(path, ignored)) return path;
  const std::string meant = nearest(source, names);
  return wrong("\"" + source + "\" is neither a .gguf file, nor a folder, nor in the catalogue; " +
               (meant.empty() ? "it holds: " + joined(names) : "did you mean \"" + meant + "\"?"));
}

/// Of the file, or of all files in the folder; 0 when that cannot be seen.
std::uint64_t bytes_of(const fs::path& path) {
  std::error_code unknown;
  if (!fs::is_directory(path, unknown)) {
    const auto bytes = fs::file_size(path, unknown);
    return unknown ? 0 : bytes;
  }
  std::uint64_t total = 0;
  for (const auto& entry : fs::directory_iterator(path, unknown)) {
    const auto bytes = entry.file_size(unknown);
    if (!unknown) total += bytes;
  }
  return total;
}

}  // namespace

fs::path resolve(const std::string& path, const fs::path& base_dir) {
  return (base_dir / path).lexically_normal();  // an absolute right side replaces the left
}

result<model_plan> find_model(const model_spec& spec, const fs::path& base_dir,
                              const fs::path& cache_dir) {
  auto file = find_file(spec.source, base_dir, cache_dir);
  if (!file) return file.failure();
  auto source = engine::model_source::open(*file);
  if (!source) return source.failure();
  auto shape = (*source)->shape();
  if (!shape) return error{shape.failure().code, file->string() + ": " + shape.failure().message};
  const auto name = file->extension() == ".gguf" ? file->stem() : file->filename();
  return model_plan{name.string(), *file, bytes_of(*file), spec.precision, *shape};
}

}  // namespace collm::deploy
