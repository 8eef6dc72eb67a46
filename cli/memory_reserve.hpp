// Memory for the moment when there is none: JSON's destructors allocate and may not fail, and an
// answer that says so takes some as well.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>

namespace collm::cli {

/// Keeps some memory and gives it back to the program when operator new finds none; what failed is
/// tried again then, and if it still fails throws as ever. Fills up again as there is memory. At
/// most one in a process, which it outlives; not under sanitizers, which have an allocator of their
/// own.
class memory_reserve {
 public:
  static constexpr std::size_t blocks = 16, block_bytes = 64 * 1024;

  memory_reserve();
  ~memory_reserve();
  memory_reserve(const memory_reserve&) = delete;
  memory_reserve& operator=(const memory_reserve&) = delete;

  /// Blocks that are there now.
  static std::size_t kept();
  /// Takes what is not there, if there is memory; done each second.
  static void fill();

 private:
  static void give_back();
  static void let_go(void* block);

  static std::array<std::atomic<void*>, blocks> kept_;
  std::mutex mutex_;
  std::condition_variable_any over_;
  std::jthread fills_;
};

}  // namespace collm::cli
