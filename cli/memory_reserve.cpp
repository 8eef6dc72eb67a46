#include "cli/memory_reserve.hpp"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <new>

namespace collm::cli {

namespace {
constexpr std::chrono::seconds fills_every{1};
}  // namespace

std::array<std::atomic<void*>, memory_reserve::blocks> memory_reserve::kept_{};

memory_reserve::memory_reserve() {
  fill();
  std::set_new_handler(&memory_reserve::give_back);
  // Signals are for the threads that the program waits for them on.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  fills_ = std::jthread([this](const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
      over_.wait_for(lock, stop, fills_every, [] { return false; });
      fill();
    }
  });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

memory_reserve::~memory_reserve() {
  fills_ = {};
  std::set_new_handler(nullptr);
  for (auto& block : kept_) let_go(block.exchange(nullptr));
}

std::size_t memory_reserve::kept() {
  return static_cast<std::size_t>(
      std::count_if(kept_.begin(), kept_.end(), [](const auto& b) { return b.load() != nullptr; }));
}

// Of operator new, on any thread: it tries again after each block, so one too large to be had takes
// them all, and they are there for what is small.
void memory_reserve::give_back() {
  for (auto& block : kept_) {
    if (void* const at = block.exchange(nullptr)) return let_go(at);
  }
  throw std::bad_alloc();
}

// Mappings, which any thread's arena can take: a block of malloc's would serve its own arena alone.
void memory_reserve::fill() {
  for (auto& block : kept_) {
    if (block.load() != nullptr) continue;
    void* const at =
        ::mmap(nullptr, block_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return;
    void* none = nullptr;
    if (!block.compare_exchange_strong(none, at)) let_go(at);
  }
}

void memory_reserve::let_go(void* block) {
  if (block != nullptr) ::munmap(block, block_bytes);
}

}  // namespace collm::cli
