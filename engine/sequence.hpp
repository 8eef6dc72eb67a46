// One running choice inside the executor: its tokens, its KV blocks, its way along the prefix
// chain, its text. Engine thread only.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "engine/adapter/adapter.hpp"
#include "engine/cache/prefix_cache.hpp"
#include "engine/executor.hpp"
#include "engine/sample/sampler.hpp"
#include "text/text_stream.hpp"

namespace collm::engine {

struct sequence {
  sequence(sequence_spec asked, text::text_stream says)
      : spec(std::move(asked)), stream(std::move(says)) {}

  // constant after admission
  sequence_spec spec;
  const adapter* with =
      nullptr;  ///< kept by the version table, which counts this sequence as a user
  prefix_cursor seed;

  // what is known and what is computed
  std::vector<std::int32_t>
      tokens;  ///< prompt, then produced; capacity for all, so that spans of it stay valid
  std::uint32_t computed = 0;  ///< tokens whose KV stands in blocks
  std::uint32_t cached = 0;    ///< prompt tokens found since the last (re)start
  std::vector<block_id> blocks;
  prefix_cursor chain;        ///< behind the last published or found block
  std::uint32_t chained = 0;  ///< blocks that chain has passed

  // what was said
  text::text_stream stream;
  token_history history;

  std::uint32_t length() const { return static_cast<std::uint32_t>(tokens.size()); }
  std::uint32_t prompt_tokens() const { return static_cast<std::uint32_t>(spec.prompt.size()); }
  std::uint32_t produced() const { return length() - prompt_tokens(); }
  std::uint32_t left() const { return length() - computed; }
};

}  // namespace collm::engine
