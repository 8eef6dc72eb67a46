// One two-party RPC connection over a stream that it owns, with the quotas that Cap'n Proto does
// not keep: message size, calls that a peer leaves open, capabilities in one message, answers that
// a peer does not read. Beyond them the connection ends. Loop thread.
#pragma once

#include <capnp/rpc-twoparty.h>
#include <capnp/rpc.h>
#include <capnp/serialize-async.h>
#include <kj/async-io.h>
#include <kj/timer.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "link/pace.hpp"
#include "messages/limits.hpp"

namespace collm::link {

struct quota {
  std::uint32_t calls_open_max =
      1024;                            ///< calls and bootstraps that the peer has not finished with
  std::uint32_t capabilities_max = 4;  ///< in one message; the protocol needs one
  /// Messages that are read at once, and a second after that; what comes faster waits in the
  /// peer's socket. 0: not bounded.
  double messages_at_once = 0, messages_a_second = 0;
  /// What we have said and the peer does not read: beyond this nothing more is read of the peer,
  /// who could otherwise fill our memory with answers. For one side of a connection only, or two
  /// peers might wait for each other. 0: not bounded.
  std::size_t unread_bytes_max = 0, unread_messages_max = 0;
  /// For how long a message of ours may wait before the peer is given up.
  std::chrono::milliseconds unread_for_max{30000};
};

/// The same for a peer that asks us: 4 MiB, and no more messages than are 16 MiB by their segments
/// of 8 KiB.
inline quota with_unread_bounds(quota q, std::chrono::milliseconds for_max) {
  q.unread_bytes_max = std::size_t{4} << 20;
  q.unread_messages_max = 2048;
  q.unread_for_max = for_max;
  return q;
}

/// Counts what comes in, in front of the RPC system.
class metered_stream final : public capnp::MessageStream {
 public:
  /// `held_back`: whether nothing may be read now.
  metered_stream(kj::AsyncIoStream& stream, const limits& bounds, quota allowed, kj::Timer& timer,
                 std::function<bool()> held_back)
      : inner_(stream),
        words_max_(bounds.frame_bytes_max / sizeof(capnp::word)),
        allowed_(allowed),
        pace_(allowed.messages_at_once, allowed.messages_a_second),
        timer_(timer),
        heard_(timer.now()),
        held_back_(std::move(held_back)) {}

  kj::Promise<kj::Maybe<capnp::MessageReaderAndFds>> tryReadMessage(
      kj::ArrayPtr<kj::AutoCloseFd> fds, capnp::ReaderOptions options,
      kj::ArrayPtr<capnp::word> scratch) override;
  kj::Promise<void> writeMessage(
      kj::ArrayPtr<const int> fds,
      kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>> segments) override {
    return inner_.writeMessage(fds, segments);
  }
  kj::Promise<void> writeMessages(
      kj::ArrayPtr<kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>>> messages) override {
    return inner_.writeMessages(messages);
  }
  kj::Maybe<int> getSendBufferSize() override { return inner_.getSendBufferSize(); }
  kj::Promise<void> end() override { return inner_.end(); }

  std::uint64_t received() const { return received_; }  ///< messages
  kj::TimePoint heard() const { return heard_; }        ///< of the last one, or the start

 private:
  void count(capnp::MessageReader& reader);
  kj::Promise<void> may_read();

  capnp::AsyncIoMessageStream inner_;
  std::uint64_t words_max_;
  quota allowed_;
  std::uint64_t received_ = 0;
  std::uint32_t calls_open_ = 0;
  pace pace_;
  kj::Timer& timer_;
  kj::TimePoint heard_;
  const std::function<bool()> held_back_;
};

class connection {
 public:
  connection(kj::Own<kj::AsyncIoStream> stream, capnp::rpc::twoparty::Side side,
             kj::Maybe<capnp::Capability::Client> bootstrap, const limits& bounds, quota allowed,
             kj::Timer& timer);

  /// The peer's bootstrap capability.
  capnp::Capability::Client peer();
  kj::Promise<void> on_disconnect() { return network_.onDisconnect(); }
  /// Done once a message has waited for longer than `unread_for_max`: the peer does not read.
  kj::Promise<void> on_unread() { return unread(false); }
  std::uint64_t received() const { return metered_.received(); }
  kj::TimePoint heard() const { return metered_.heard(); }
  /// Messages of ours that do not lie in the system yet.
  std::size_t unwritten() { return network_.getCurrentQueueCount(); }
  /// Nothing is read of the peer, because it does not read what it is told.
  bool held_back();

 private:
  kj::Promise<void> unread(bool before);

  kj::Own<kj::AsyncIoStream> stream_;
  const quota allowed_;
  kj::Timer& timer_;
  metered_stream metered_;
  capnp::TwoPartyVatNetwork network_;
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc_;
};

}  // namespace collm::link
