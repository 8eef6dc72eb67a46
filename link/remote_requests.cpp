#include "link/remote_requests.hpp"

#include <algorithm>

#include "link/outcome.hpp"
#include "messages/assert.hpp"

namespace collm::link {

// Of an answer, on the mean: the token, its text, twenty alternatives.
constexpr std::uint64_t token_bytes_max = 1024;

struct remote_requests::entry {
  entry(schema::Request::Reader request, actors::sink_actor to)
      : id(request.getId()),
        sink(std::move(to)),
        chunks_left((std::uint64_t{request.getMaxTokens()} + 2) *
                        std::max<std::uint64_t>(request.getChoices(), 1) +
                    16),
        bytes_left(chunks_left * token_bytes_max) {}

  template <class Message>
  void forward(Message m) {
    caf::anon_send(sink, std::move(m));
  }

  /// The request's end when the node did not give one.
  void fail(const error& why) {
    if (std::exchange(over, true)) return;
    if (!accepted) return forward(make_reject(id, why));
    const auto reason =
        why.code == errc::cancelled ? schema::FinishReason::CANCELLED : schema::FinishReason::ERROR;
    forward(make_finish(id, reason, why.message));
  }

  const request_id id;
  const actors::sink_actor sink;
  /// A chunk has at least one token, but for the last ones of each choice: a node that sends more
  /// does not answer this request.
  std::uint64_t chunks_left;
  std::uint64_t bytes_left;
  bool accepted = false, over = false;
  kj::Canceler call;
};

namespace {

/// The capability that a node sends one request's tokens to. A node may keep it longer than the
/// request lives.
class sink_server final : public schema::TokenSink::Server {
 public:
  explicit sink_server(std::weak_ptr<remote_requests::entry> to) : to_(std::move(to)) {}

  kj::Promise<void> accepted(AcceptedContext context) override {
    const auto reader = context.getParams().getAccepted();
    auto to = open_request(reader.getRequest());
    if (to->accepted) throw_bad("was accepted already");
    to->forward(msg<schema::Accepted>::copy_of(reader, limits{}.word_bytes_max));
    to->accepted = true;
    return kj::READY_NOW;
  }

  kj::Promise<void> put(PutContext context) override {
    const auto reader = context.getParams().getChunk();
    auto to = open_request(reader.getRequest());
    if (!to->accepted) throw_bad("was not accepted yet");
    const auto bytes = reader.totalSize().wordCount * sizeof(capnp::word);
    if (bytes > limits{}.token_chunk_bytes_max) throw_bad("was answered with an enormous chunk");
    if (to->chunks_left == 0 || bytes > to->bytes_left) {
      to->fail({errc::internal, "the node sent more than was asked for"});
      throw_bad("is over: it got more than it asked for");
    }
    --to->chunks_left;
    to->bytes_left -= bytes;
    to->forward(msg<schema::TokenChunk>::copy_of(reader));
    return kj::READY_NOW;
  }

 private:
  std::shared_ptr<remote_requests::entry> open_request(request_id id) {
    auto to = to_.lock();
    if (!to || to->over) throw_bad("is over");
    if (to->id != id) throw_bad("is not the one that this sink is for");
    return to;
  }
  [[noreturn]] static void throw_bad(const char* what) {
    kj::throwFatalException(to_exception({errc::bad_request, std::string("the request ") + what}));
  }

  std::weak_ptr<remote_requests::entry> to_;
};

}  // namespace

remote_requests::remote_requests(std::string node, schema::Node::Client to)
    : node_(std::move(node)), to_(kj::mv(to)), calls_(*this) {}

remote_requests::~remote_requests() noexcept {
  end_all({errc::unavailable, "the link to node " + node_ + " was closed"});
}

void remote_requests::start(const msg<schema::Request>& request, const actors::sink_actor& sink) {
  auto view = request.read();
  auto made = std::make_shared<entry>(*view, sink);
  if (ended_) return made->fail({errc::unavailable, "node " + node_ + " is not connected"});
  if (entries_.size() >= in_flight_max) {
    return made->fail({errc::overloaded, "too many requests in flight to node " + node_, 1000});
  }
  const key at{made->id, sink.id()};
  if (!entries_.emplace(at, made).second) {
    return made->fail({errc::conflict, "a request of this number is in flight already"});
  }
  auto size = view->totalSize();
  size.wordCount += 16;
  size.capCount += 1;
  auto call = to_.generateRequest(size);
  call.setRequest(*view);
  call.setSink(kj::heap<sink_server>(made));
  // Only the call itself is wrapped: what follows it may end the entry, and with it the canceler.
  kj::Promise<capnp::Response<schema::Node::GenerateResults>> sent = call.send();
  auto answered = made->call.wrap(kj::mv(sent))
                      .then([this, at](capnp::Response<schema::Node::GenerateResults>&& answer) {
                        finish(at, answer.getResult());
                      });
  calls_.add(answered.catch_([this, at](kj::Exception&& e) {
    auto why = from_exception(e);
    fail(at, {why.code, "node " + node_ + ": " + why.message, why.retry_after_ms});
  }));
}

void remote_requests::finish(const key& at, schema::GenerateResult::Reader outcome) {
  const auto found = entries_.find(at);
  if (found == entries_.end()) return;
  auto done = found->second;
  if (!done->over) {  // else it was ended for what the node sent
    // What is malformed throws here, and the request fails, as it is still one of ours.
    if (outcome.isReject()) {
      done->forward(msg<schema::Reject>::copy_of(outcome.getReject(), limits{}.word_bytes_max));
    } else {
      done->forward(msg<schema::Finish>::copy_of(outcome.getFinish(), limits{}.word_bytes_max));
    }
    done->over = true;
  }
  entries_.erase(found);
}

void remote_requests::fail(const key& at, const error& why) {
  const auto found = entries_.find(at);
  if (found == entries_.end()) return;
  auto done = found->second;
  entries_.erase(found);
  done->fail(why);
}

void remote_requests::cancel(request_id id, const actors::sink_actor& sink) {
  const auto found = entries_.find({id, sink.id()});
  if (found == entries_.end()) return;
  auto done = found->second;
  entries_.erase(found);
  done->fail({errc::cancelled, "cancelled"});
  done->call.cancel("cancelled");
}

void remote_requests::end_all(const error& why) {
  ended_ = true;
  auto left = std::exchange(entries_, {});
  for (auto& [at, open] : left) open->fail(why);
}

void remote_requests::taskFailed(kj::Exception&&) {
  COLLM_ASSERT(false);  // each call handles its own failure
}

}  // namespace collm::link
