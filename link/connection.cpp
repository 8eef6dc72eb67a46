#include "link/connection.hpp"

#include <capnp/rpc.capnp.h>

#include "link/outcome.hpp"

namespace collm::link {
namespace {

/// Reading a message twice counts twice: we look at it, the RPC system looks at it, the handler
/// copies it.
constexpr std::uint64_t passes = 4;
constexpr int rpc_nesting = 4;   // pointers around a parameter: message, call, payload, parameters
constexpr int unread_parts = 8;  // how finely an unread message's time is measured

capnp::ReaderOptions reader_options(const limits& bounds) {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = passes * bounds.frame_bytes_max / sizeof(capnp::word);
  options.nestingLimit = static_cast<int>(bounds.nesting_max) + rpc_nesting;
  return options;
}

/// MessageReader::sizeInWords of Cap'n Proto 0.9.2 waits for itself on a message with one segment.
std::uint64_t size_in_words(capnp::MessageReader& reader) {
  std::uint64_t words = 0;
  for (capnp::uint id = 0;; ++id) {
    const auto segment = reader.getSegment(id);
    if (segment.begin() == nullptr) return words;
    words += segment.size();
  }
}

/// Incoming words unanswered. The number of calls is what bounds a peer; this must only never be
/// reached before it, because at it answers are not read either and two peers may wait for each
/// other.
std::size_t flow_limit(const limits& bounds, quota allowed) {
  return bounds.frame_bytes_max / sizeof(capnp::word) * allowed.calls_open_max;
}

}  // namespace

kj::Promise<kj::Maybe<capnp::MessageReaderAndFds>> metered_stream::tryReadMessage(
    kj::ArrayPtr<kj::AutoCloseFd> fds, capnp::ReaderOptions options,
    kj::ArrayPtr<capnp::word> scratch) {
  return may_read()
      .then([this, fds, options, scratch] { return inner_.tryReadMessage(fds, options, scratch); })
      .then([this](kj::Maybe<capnp::MessageReaderAndFds>&& message) {
        KJ_IF_MAYBE (arrived, message) count(*arrived->reader);
        return kj::mv(message);
      });
}

kj::Promise<void> metered_stream::may_read() {
  const auto now = (timer_.now() - kj::origin<kj::TimePoint>()) / kj::MICROSECONDS;
  const bool paced = allowed_.messages_a_second > 0;
  if (!held_back_() && (!paced || pace_.take(static_cast<double>(now) / 1e6))) return kj::READY_NOW;
  return timer_.afterDelay(10 * kj::MILLISECONDS).then([this] { return may_read(); });
}

void metered_stream::count(capnp::MessageReader& reader) {
  ++received_;
  heard_ = timer_.now();
  if (const auto words = size_in_words(reader); words > words_max_) {
    kj::throwFatalException(to_exception(
        {errc::too_large, "message of " + std::to_string(words * sizeof(capnp::word)) +
                              " bytes; at most " +
                              std::to_string(words_max_ * sizeof(capnp::word)) + " are accepted"}));
  }
  auto message = reader.getRoot<capnp::rpc::Message>();
  std::uint32_t capabilities = 0;
  switch (message.which()) {
    case capnp::rpc::Message::CALL:
      ++calls_open_;
      capabilities = message.getCall().getParams().getCapTable().size();
      break;
    case capnp::rpc::Message::BOOTSTRAP:
      ++calls_open_;
      break;
    case capnp::rpc::Message::FINISH:
      if (calls_open_ > 0) --calls_open_;
      break;
    case capnp::rpc::Message::RETURN:
      if (message.getReturn().isResults()) {
        capabilities = message.getReturn().getResults().getCapTable().size();
      }
      break;
    default:
      break;
  }
  if (calls_open_ > allowed_.calls_open_max || capabilities > allowed_.capabilities_max) {
    kj::throwFatalException(
        to_exception({errc::rate_limited,
                      "connection over its quota: at most " +
                          std::to_string(allowed_.calls_open_max) + " open calls and " +
                          std::to_string(allowed_.capabilities_max) + " capabilities a message"}));
  }
}

connection::connection(kj::Own<kj::AsyncIoStream> stream, capnp::rpc::twoparty::Side side,
                       kj::Maybe<capnp::Capability::Client> bootstrap, const limits& bounds,
                       quota allowed, kj::Timer& timer)
    : stream_(kj::mv(stream)),
      allowed_(allowed),
      timer_(timer),
      metered_(*stream_, bounds, allowed, timer, [this] { return held_back(); }),
      network_(metered_, side, reader_options(bounds)),
      rpc_(network_, kj::mv(bootstrap)) {
  rpc_.setFlowLimit(flow_limit(bounds, allowed));
}

capnp::Capability::Client connection::peer() {
  capnp::MallocMessageBuilder builder;
  auto id = builder.initRoot<capnp::rpc::twoparty::VatId>();
  id.setSide(network_.getSide() == capnp::rpc::twoparty::Side::CLIENT
                 ? capnp::rpc::twoparty::Side::SERVER
                 : capnp::rpc::twoparty::Side::CLIENT);
  return rpc_.bootstrap(id);
}

bool connection::held_back() {
  if (allowed_.unread_bytes_max == 0) return false;
  return network_.getCurrentQueueSize() > allowed_.unread_bytes_max ||
         network_.getCurrentQueueCount() > allowed_.unread_messages_max;
}

// Twice in a row: until the writing of a message has begun, the network tells the time of the one
// before it.
kj::Promise<void> connection::unread(bool before) {
  const auto most = allowed_.unread_for_max.count() * kj::MILLISECONDS;
  return timer_.afterDelay(most / unread_parts).then([this, before, most]() -> kj::Promise<void> {
    const bool now = network_.getOutgoingMessageWaitTime() > most;
    return now && before ? kj::Promise<void>(kj::READY_NOW) : unread(now);
  });
}

}  // namespace collm::link
