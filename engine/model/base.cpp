// open_base: one object a file and precision in a process, one packed file a machine.
#include <map>
#include <mutex>

#include "engine/kernels/cpu_path.hpp"
#include "engine/model/base_file.hpp"
#include "engine/model/linear_f32.hpp"
#include "engine/model/model_source.hpp"
#include "engine/model/pack.hpp"

namespace collm::engine {
namespace {

/// Bases that are open now, by the packed file's path. The mutex also makes one thread pack while
/// another waits for its file.
struct open_bases {
  std::mutex mutex;
  std::map<std::filesystem::path, std::weak_ptr<const packed_base>> held;
};

open_bases& registry() {
  static open_bases all;
  return all;
}

result<void> pack_file(const model_source& from, const std::string& digest, precision p,
                       const std::filesystem::path& to, const std::function<bool()>& over) {
  std::error_code failed;
  std::filesystem::create_directories(to.parent_path(), failed);
  if (failed) return error{errc::io, to.parent_path().string() + ": " + failed.message(), 0};
  const auto lock = packing_lock::take(to.parent_path());
  if (!lock) return lock.failure();
  if (std::filesystem::exists(to, failed)) return {};  // another process packed it meanwhile
  // Calibration computes in f32.
  if (auto ready = load_f32_products(); !ready) return ready.failure();
  auto image = p == precision::int8 ? pack_int8(from, digest, over) : pack_f32(from, digest, over);
  if (!image) return image.failure();
  return write_base_file(to, image->facts, {image->memory.get(), image->bytes});
}

error named(error why, const std::filesystem::path& path) {
  if (why.message.find(path.string()) == std::string::npos)
    why.message = path.string() + ": " + why.message;
  return why;
}

}  // namespace

result<base_ptr> open_base(const std::filesystem::path& source, precision p,
                           const std::filesystem::path& cache_dir,
                           const std::function<bool()>& over) {
  auto from = model_source::open(source);
  if (!from) return from.failure();
  const auto digest = (*from)->sha256();
  std::error_code ignored;  // a folder that does not exist yet keeps its given name
  const auto path = std::filesystem::weakly_canonical(cache_dir, ignored) /
                    base_file_name(digest, p, chosen_path() != avx512_path);
  auto& all = registry();
  const std::lock_guard lock(all.mutex);
  if (auto held = all.held[path].lock()) return base_ptr(held);
  if (!std::filesystem::exists(path, ignored))
    if (auto packed = pack_file(**from, digest, p, path, over); !packed)
      return named(packed.failure(), source);
  if (p == precision::f32)
    if (auto ready = load_f32_products(); !ready) return ready.failure();
  auto mapped = map_base_file(path);
  if (!mapped) return mapped.failure();
  all.held[path] = *mapped;
  return base_ptr(*mapped);
}

}  // namespace collm::engine
