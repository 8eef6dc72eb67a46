// The HTTP gateway of one process: OpenAI's API, probes, admin, events and the page over HTTP/1.1.
// Runs on one thread of its own; knows the runtime as a port. Beyond loopback it starts with keys
// and TLS only.
#pragma once

#include <cstdint>
#include <memory>

#include "gateway/http_options.hpp"
#include "gateway/port.hpp"
#include "gateway/prompt.hpp"
#include "messages/result.hpp"

namespace collm::gateway {

class http_server {
 public:
  /// Listens and serves. `runtime` outlives the server; callbacks that it still makes after stop()
  /// are dropped.
  static result<std::unique_ptr<http_server>> start(http_options options, port& runtime,
                                                    prompt_encoder encoder);
  ~http_server();

  std::uint16_t port() const;  ///< the one it listens on
  /// Closes all connections, cancels what they had running, ends the thread. Who was answered has
  /// timeouts.linger to read it to its end. Drain the runtime first.
  void stop();

  // any thread
  std::uint64_t connections_open() const;
  std::uint64_t connections_refused() const;

 private:
  struct impl;
  explicit http_server(std::unique_ptr<impl> state);
  std::unique_ptr<impl> impl_;
};

}  // namespace collm::gateway
