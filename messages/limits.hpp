// Every bound of the runtime in one place. The manifest's `limits` overrides the first five.
#pragma once

#include <cstddef>
#include <cstdint>

namespace collm {

struct limits {
  std::size_t request_bytes_max = 1u << 20;      ///< HTTP body
  std::uint32_t prompt_tokens_max = 4096;        ///< tokens of one prompt
  std::uint32_t queued_requests_max = 256;       ///< waiting in one replica
  std::uint32_t connections_max = 512;           ///< open sockets of one gateway
  std::uint32_t engine_silence_ms_max = 30'000;  ///< an engine's loop without a turn: wedged then
  std::size_t header_bytes_max = 16u << 10;      ///< request line and headers
  std::uint32_t bodies_max = 16;                 ///< HTTP bodies of the largest size that a gateway
                                                 ///< receives at once
  std::uint32_t json_depth_max = 32;             ///< nesting of a JSON body
  std::uint32_t messages_max = 1024;             ///< chat messages of one request
  std::uint32_t choices_max = 16;                ///< `n`
  std::uint32_t stop_strings_max = 16;           ///< `stop`
  std::uint32_t stop_string_bytes_max = 256;     ///< one stop string
  std::uint32_t top_logprobs_max = 20;           ///< alternatives a token
  std::uint32_t stream_unsent_tokens_max =
      1024;  ///< buffered for a slow reader, then the stream is cancelled
  std::uint32_t running_requests_max = 64;      ///< sequences in one engine step
  std::size_t frame_bytes_max = 1u << 20;       ///< one Cap'n Proto message from outside
  std::size_t chunk_bytes_max = 1u << 20;       ///< data of one chunk between nodes and head
  std::size_t word_bytes_max = 64u << 10;       ///< of a message without data of its own, as copied
  std::size_t snapshot_bytes_max = 512u << 10;  ///< of a node's snapshot, as copied
  std::size_t token_chunk_bytes_max = 256u << 10;  ///< of tokens of one step, as copied
  std::uint32_t nesting_max = 16;            ///< pointers in a Cap'n Proto message from outside
  std::uint32_t rpc_streams_max = 64;        ///< generations in flight on one native connection
  std::uint32_t event_subscribers_max = 16;  ///< open /admin/v1/events streams
};

/// How long what runs on a node may go on once that drains, ms; then it is ended.
inline constexpr std::uint32_t drain_deadline_ms = 30'000, drain_deadline_ms_max = 600'000;

}  // namespace collm
