#include "engine/kv_storage.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace collm::engine {

void kv_storage::unmapped::operator()(std::uint8_t* first) const { munmap(first, bytes); }

result<kv_storage> kv_storage::make(const model_shape& shape, precision p, std::uint64_t bytes,
                                    std::uint32_t block_tokens) {
  kv_storage made;
  kv_pages& pages = made.pages_;
  pages.layers = shape.layers;
  pages.kv_heads = shape.kv_heads;
  pages.head_dim = shape.head_dim;
  pages.block_tokens = block_tokens;
  pages.halves = kv_halves(p);
  const std::uint64_t block_bytes = block_tokens * kv_token_bytes(shape, p);
  if (bytes < block_bytes)
    return error{errc::bad_request,
                 "a KV cache of " + std::to_string(bytes) + " bytes holds no block; one of " +
                     std::to_string(block_tokens) + " tokens takes " + std::to_string(block_bytes)};
  pages.blocks =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes / block_bytes, UINT32_MAX - 1));
  const std::uint64_t used = pages.blocks * block_bytes;
  void* const first =
      mmap(nullptr, used, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (first == MAP_FAILED)
    return error{errc::io, "cannot map " + std::to_string(used) +
                               " bytes of KV cache: " + std::strerror(errno)};
  // Blocks are read apart from each other: a page of 4 KiB would cost a walk of the page table each
  // (measured: 15 % of attention). Where the kernel has no large pages, nothing changes. The price:
  // a layer's first block of all zeroes 2 MiB.
  (void)madvise(first, used, MADV_HUGEPAGE);
  made.mapping_ = {static_cast<std::uint8_t*>(first), unmapped{used}};
  pages.data = made.mapping_.get();
  return made;
}

}  // namespace collm::engine
