// What a gateway needs from the runtime behind it: submit, cancel, status. gateway/ and link/ know
// this interface, not actors. Every call returns at once and may be made from any thread; callbacks
// come on a thread of the implementation, so a caller hops to its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "messages/events.capnp.h"
#include "messages/ids.hpp"
#include "messages/inference.capnp.h"
#include "messages/msg.hpp"
#include "messages/registry.capnp.h"
#include "messages/result.hpp"

namespace collm::gateway {

/// Where one request's answer goes. Called in the order of inference.capnp; after finish() or
/// reject() never again.
class stream {
 public:
  virtual ~stream() = default;
  virtual void accepted(msg<schema::Accepted> m) = 0;
  virtual void chunk(msg<schema::TokenChunk> m) = 0;
  virtual void finish(msg<schema::Finish> m) = 0;
  virtual void reject(msg<schema::Reject> m) = 0;
};

/// One row of GET /v1/models.
struct model_row {
  std::string id;      ///< "smollm2-135m-instruct", "assistant", "assistant@3"
  std::string root;    ///< the artefact: base file or adapter source
  std::string parent;  ///< base id for adapters; empty for the base
  std::int64_t created = 0;
};

class federation_port;
class nodes_port;
class site_port;

class port {
 public:
  virtual ~port() = default;

  /// The site's own examples; null: none here (the head, a node without data).
  virtual site_port* site_store() { return nullptr; }
  /// Jobs, rounds and versions; null: this cluster trains nothing.
  virtual federation_port* federation() { return nullptr; }
  /// Who may take part in the cluster; null: this is not the head.
  virtual nodes_port* nodes() { return nullptr; }

  /// Chunks arrive only while the stream has credit: it starts with stream_credit_start and gets
  /// one more per credit(). Beyond limits::stream_unsent_tokens_max buffered tokens the request
  /// ends with FinishReason::slowReader.
  virtual void submit(msg<schema::Request> request, std::shared_ptr<stream> to) = 0;
  virtual void credit(request_id id, std::uint32_t chunks) = 0;
  virtual void cancel(request_id id) = 0;
  virtual request_id next_id() = 0;

  virtual void models(std::function<void(std::vector<model_row>)> reply) = 0;
  virtual void status(std::function<void(msg<schema::ClusterStatus>)> reply) = 0;
  /// Events with seq > after that are still in the ring, oldest first.
  virtual void events(std::uint32_t after,
                      std::function<void(std::vector<msg<schema::Event>>)> reply) = 0;
  virtual void metrics(std::function<void(std::string)> reply) = 0;  ///< Prometheus text 0.0.4

  // -- admin
  virtual void load_adapter(std::string name, std::string folder,
                            std::function<void(result<msg<schema::VersionRecord>>)> reply) = 0;
  virtual void unload_adapter(std::string name,
                              std::function<void(result<msg<schema::VersionRecord>>)> reply) = 0;
  /// Head: drains the named node, and starts its process anew if `again`; node: name is its own or
  /// empty, and nobody starts it anew. What still runs after `deadline` is ended: `timeout` then.
  virtual void drain(std::string node, bool again, std::chrono::milliseconds deadline,
                     std::function<void(result<void>)> reply) = 0;
  virtual void shutdown(std::function<void(result<void>)> reply) = 0;

  // -- probes, answered at once
  virtual bool healthy()
      const = 0;  ///< the step loop's heart-beat is young enough (head: its own loop)
  virtual std::string health_text() const = 0;  ///< one line: what is wrong, or "ok"
  virtual bool ready() const = 0;               ///< admits requests
  virtual std::string not_ready_text() const {  ///< why not, where it is healthy
    return "it is starting or draining";
  }
};

inline constexpr std::uint32_t stream_credit_start = 16;

}  // namespace collm::gateway
