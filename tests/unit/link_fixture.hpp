// A head and nodes in one process over real TLS on loopback, with actors that only note what they
// are told; the test plays the rest. Waiting is always for a condition, with a deadline.
#pragma once

#include <gtest/gtest.h>
#include <kj/compat/tls.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "link/connection.hpp"
#include "link/link.hpp"

namespace collm::link::testing {

inline constexpr std::chrono::seconds patience{20};

/// What the fake actors were told. Any thread.
class board {
 public:
  struct joined {
    std::string name;
    std::uint64_t incarnation = 0;
    actors::router_actor router;
    actors::node_actor node;
  };
  struct left {
    std::string name;
    std::uint64_t incarnation = 0;
    std::string reason;
    std::chrono::steady_clock::time_point when;
  };
  struct asked {
    msg<schema::Request> request;
    actors::sink_actor sink;
  };

  std::vector<joined> joins;
  std::vector<left> leaves;
  std::vector<asked> requests;                                     // at the node's router
  std::vector<std::pair<request_id, actors::sink_actor>> cancels;  // at the node's router
  std::vector<std::string> order;  // "join 1", "leave 1", ... at the supervisor
  std::map<std::string, std::uint32_t> beats;
  std::vector<std::string> events, loads, unloads, records, log;
  std::vector<std::string> kinds;  // of the events
  std::uint32_t chunks_asked = 0;  // of spawn_large
  std::uint32_t drains = 0;

  template <class F>
  void note(F&& change) {
    std::lock_guard lock(mutex_);
    change(*this);
    changed_.notify_all();
  }
  template <class F>
  bool wait(F&& holds, std::chrono::milliseconds at_most = patience) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, at_most, [&] { return holds(*this); });
  }
  template <class F>
  auto look(F&& read) {
    std::lock_guard lock(mutex_);
    return read(*this);
  }
  bool wait_log(const std::string& part) {
    return wait([&](const board& b) {
      for (const auto& line : b.log) {
        if (line.find(part) != line.npos) return true;
      }
      return false;
    });
  }
  asked request(std::size_t index) {
    EXPECT_TRUE(wait([&](const board& b) { return b.requests.size() > index; }));
    return look([&](const board& b) { return b.requests.at(index); });
  }
  joined join(std::size_t index) {
    EXPECT_TRUE(wait([&](const board& b) { return b.joins.size() > index; }));
    return look([&](const board& b) { return b.joins.at(index); });
  }
  /// Drops the handles, so that the actors' system can end.
  void clear() {
    note([](board& b) {
      b.joins.clear();
      b.requests.clear();
      b.cancels.clear();
    });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};
using board_ptr = std::shared_ptr<board>;

/// What one request's sink was told.
class answer {
 public:
  std::vector<std::string> texts;
  std::uint32_t accepted = 0, ends = 0;
  std::string replica, reject_code, message;
  std::uint32_t retry_after_ms = 0, completion_tokens = 0;
  schema::FinishReason finish = schema::FinishReason::NONE;

  template <class F>
  void note(F&& change) {
    std::lock_guard lock(mutex_);
    change(*this);
    changed_.notify_all();
  }
  template <class F>
  bool wait(F&& holds) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience, [&] { return holds(*this); });
  }
  bool wait_end() {
    return wait([](const answer& a) { return a.ends > 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};
using answer_ptr = std::shared_ptr<answer>;

actors::supervisor_actor spawn_supervisor(caf::actor_system& system, board_ptr to);
actors::registry_actor spawn_registry(caf::actor_system& system, board_ptr to);
actors::telemetry_actor spawn_telemetry(caf::actor_system& system, board_ptr to, std::string node);
/// An aggregator that has factors without end, a chunk a call, and nothing else.
actors::aggregator_actor spawn_large(caf::actor_system& system, board_ptr to);
actors::router_actor spawn_router(caf::actor_system& system, board_ptr to);
actors::node_actor spawn_node(caf::actor_system& system, board_ptr to);
actors::sink_actor spawn_sink(caf::actor_system& system, answer_ptr to);

msg<schema::Request> make_request(request_id id, std::uint32_t tokens = 3);
msg<schema::Accepted> make_accepted(request_id id);
msg<schema::TokenChunk> make_chunk(request_id id, std::uint32_t seq, const std::string& text);
msg<schema::Finish> make_stop(request_id id, std::uint32_t tokens);
msg<schema::Hello> make_hello(const std::string& name, std::uint64_t incarnation = 1);

/// A fresh folder, removed at the end.
class folder {
 public:
  folder();
  ~folder();
  const std::filesystem::path path;
};

/// Certificates of cluster "demo" for edge-a, edge-b and stray, made once a process; stray is not
/// in the manifest.
const std::filesystem::path& demo_certificates();
/// Another cluster of the same name: same names, other authority.
const std::filesystem::path& foreign_certificates();

/// The authority over such a folder.
std::shared_ptr<authority> members_of(const std::filesystem::path& folder,
                                      std::map<std::string, planned_member> nodes);

/// Loops, actors and one head. Members end in the order that link/link.hpp asks for.
class cluster_test : public ::testing::Test {
 protected:
  cluster_test();
  ~cluster_test() override;

  void start_head(const std::string& listen = "127.0.0.1:0");
  server_options head_options() const;
  std::unique_ptr<link_client> make_client(client_options options);
  client_options node_options(const std::string& name, std::uint64_t incarnation = 1) const;
  client_actors node_actors(const std::string& name = "edge-a");
  /// A client that serves.
  std::unique_ptr<link_client> start_node(const std::string& name, std::uint64_t incarnation = 1);

  caf::actor_system_config config_;
  caf::actor_system system_;
  board_ptr board_ = std::make_shared<board>();
  std::map<std::string, actors::aggregator_actor> aggregators_;  // of the next head
  actors::coordinator_actor coordinator_;
  std::chrono::milliseconds unread_for_max_{30000};
  loop head_loop_, node_loop_;
  std::uint16_t port_ = 0;
  std::unique_ptr<link_server> head_;
  std::unique_ptr<link_client> node_;
};

/// A peer that the test writes by hand, on a kj loop of the test's own thread; a second one shares
/// the first one's.
class raw_peer {
 public:
  raw_peer() : io_(std::make_shared<kj::AsyncIoContext>(kj::setupAsyncIo())) {}
  explicit raw_peer(const raw_peer& beside) : io_(beside.io_) {}
  void connect(std::uint16_t port);
  /// Over TLS; `files` null: without a certificate.
  void connect_tls(std::uint16_t port, const tls_files* files, const std::string& trust);
  /// Speaks RPC over the stream that connect gave.
  void speak();
  template <class Interface>
  typename Interface::Client peer() {
    return rpc_->peer().castAs<Interface>();
  }
  template <class T>
  T wait(kj::Promise<T>&& promise) {
    return timer().timeoutAfter(20 * kj::SECONDS, kj::mv(promise)).wait(io_->waitScope);
  }
  /// The text of the failure; empty if it succeeds.
  std::string failure(kj::Promise<void>&& promise);
  /// True once the other side has closed, false after the deadline.
  bool closed();
  /// Ends the connection without a word.
  void drop();
  kj::AsyncIoStream& stream() { return *stream_; }
  kj::Timer& timer() { return io_->provider->getTimer(); }
  kj::WaitScope& scope() { return io_->waitScope; }

 private:
  const std::shared_ptr<kj::AsyncIoContext> io_;
  kj::Own<kj::TlsContext> tls_;
  kj::Own<kj::AsyncIoStream> stream_;
  kj::Own<connection> rpc_;
};

}  // namespace collm::link::testing
