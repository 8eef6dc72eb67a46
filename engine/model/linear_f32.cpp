#include "engine/model/linear_f32.hpp"

#include <dlfcn.h>

#include <filesystem>
#include <numeric>
#include <string>

#include "engine/model/torch_products.hpp"
#include "messages/assert.hpp"

namespace collm::engine {
namespace {

result<const torch_products*> load() {
  std::error_code unreadable;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", unreadable);
  if (unreadable) return error{errc::io, "/proc/self/exe: " + unreadable.message(), 0};
  const auto library = program.parent_path() / torch_products_library;
  // Never closed: libtorch leaves threads and handlers behind.
  void* const opened = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  const void* const found = opened ? ::dlsym(opened, torch_products_symbol) : nullptr;
  if (found != nullptr) return static_cast<const torch_products*>(found);
  const char* const why = ::dlerror();
  return error{errc::io,
               "f32, and packing a base, compute with libtorch through " + library.string() +
                   ", which does not load: " + (why ? why : "it lacks its table"),
               0};
}

const result<const torch_products*>& loaded() {
  static const auto once = load();
  return once;
}

const torch_products& torch() {
  COLLM_ASSERT(bool(loaded()));
  return **loaded();
}

}  // namespace

result<void> load_f32_products() {
  if (!loaded()) return loaded().failure();
  return {};
}

void product_f32(const float* x, std::size_t x_stride, std::uint32_t rows, std::uint32_t in,
                 const float* w, std::uint32_t first, std::uint32_t last, float* y,
                 std::size_t y_stride) {
  if (rows == 0 || first == last) return;
  torch().product(x, x_stride, rows, in, w, first, last, y, y_stride);
}

void product_f32_back(const float* dy, std::size_t dy_stride, std::uint32_t rows, std::uint32_t out,
                      const float* w, std::uint32_t in, float* dx, std::size_t dx_stride) {
  if (rows == 0) return;
  torch().product_back(dy, dy_stride, rows, out, w, in, dx, dx_stride);
}

void lora_down_f32(const float* x, const float* a, std::uint32_t in, std::uint32_t rank,
                   float scale, float* t) {
  for (std::uint32_t j = 0; j < rank; ++j, a += in)
    t[j] = scale * std::transform_reduce(a, a + in, x, 0.0f);
}

void lora_up_f32(const float* t, const float* b, std::uint32_t rank, std::uint32_t first,
                 std::uint32_t last, float* y) {
  for (std::uint32_t o = first; o < last; ++o)
    y[o] += std::transform_reduce(t, t + rank, b + std::size_t{o} * rank, 0.0f);
}

void use_one_torch_thread() { torch().use_one_thread(); }

}  // namespace collm::engine
