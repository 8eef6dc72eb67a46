// The memory of one engine's KV blocks: one private mapping, committed by the kernel as blocks are
// first used. Engine thread only.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/model/model.hpp"

namespace collm::engine {

class kv_storage {
 public:
  /// As many whole blocks as fit into `bytes`; refuses fewer than one.
  static result<kv_storage> make(const model_shape& shape, precision p, std::uint64_t bytes,
                                 std::uint32_t block_tokens);
  const kv_pages& pages() const { return pages_; }
  std::uint64_t bytes() const { return mapping_.get_deleter().bytes; }

 private:
  struct unmapped {
    std::uint64_t bytes;
    void operator()(std::uint8_t* first) const;
  };
  kv_pages pages_;
  std::unique_ptr<std::uint8_t, unmapped> mapping_;
};

}  // namespace collm::engine
