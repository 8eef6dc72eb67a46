#include "link/enrolment_server.hpp"

#include <capnp/serialize-async.h>

#include "link/outcome.hpp"
#include "link/tls.hpp"

namespace collm::link {
namespace {

msg<schema::Enrolled> refusal(const error& why) {
  return msg<schema::Enrolled>::build([&](schema::Enrolled::Builder to) {
    auto failure = to.initFailure();
    failure.setCode(std::string(to_string(why.code)));
    failure.setMessage(why.message);
    failure.setRetryAfterMs(why.retry_after_ms);
  });
}

capnp::ReaderOptions small_messages() {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = enrolment_server::request_bytes_max / sizeof(capnp::word);
  options.nestingLimit = 4;
  return options;
}

/// A stream with what is being read from it or written to it.
struct session {
  kj::Own<kj::AsyncIoStream> stream;
  kj::Own<capnp::MessageReader> request;
  msg<schema::Enrolled> reply;
  kj::byte rest[16];
};

}  // namespace

result<std::unique_ptr<enrolment_server>> enrolment_server::start(loop& on,
                                                                  enrolment_options options) {
  auto tls = make_open_tls(options.tls, on.timer(), options.handshake_max);
  if (!tls) return tls.failure();
  try {
    auto address = on.io().getNetwork().parseAddress(options.listen.c_str()).wait(on.scope());
    return std::unique_ptr<enrolment_server>(
        new enrolment_server(on, std::move(options), kj::mv(*tls), address->listen()));
  } catch (const kj::Exception& e) {
    return error{errc::io, "cannot listen for nodes that join at " + options.listen + ": " +
                               e.getDescription().cStr()};
  }
}

enrolment_server::enrolment_server(loop& on, enrolment_options options,
                                   kj::Own<kj::TlsContext> secure,
                                   kj::Own<kj::ConnectionReceiver> receiver)
    : on_(on),
      options_(std::move(options)),
      tls_(kj::mv(secure)),
      receiver_(kj::mv(receiver)),
      tasks_(*this) {
  tasks_.add(accept());
}

kj::Promise<void> enrolment_server::accept() {
  return receiver_->accept().then(
      [this](kj::Own<kj::AsyncIoStream>&& stream) {
        if (open_ < connections_max) {
          ++open_;
          tasks_.add(on_.timer()
                         .timeoutAfter(to_kj(options_.connection_max), serve(kj::mv(stream)))
                         .attach(kj::defer([this] { --open_; })));
        }
        return accept();
      },
      [this](kj::Exception&& e) {  // such as no file descriptor left
        options_.refused(std::string("cannot accept: ") + e.getDescription().cStr());
        return on_.timer().afterDelay(100 * kj::MILLISECONDS).then([this] { return accept(); });
      });
}

kj::Promise<void> enrolment_server::serve(kj::Own<kj::AsyncIoStream> stream) {
  auto held = std::make_shared<session>();
  return tls_->wrapServer(kj::mv(stream))
      .then([held](kj::Own<kj::AsyncIoStream>&& secured) {
        held->stream = kj::mv(secured);
        return capnp::readMessage(*held->stream, small_messages());
      })
      .then([this, held](kj::Own<capnp::MessageReader>&& request) {
        held->request = kj::mv(request);
        return answer(held->request->getRoot<schema::Enrol>());
      })
      .then([held](msg<schema::Enrolled>&& reply) {
        held->reply = std::move(reply);
        const auto bytes = held->reply.bytes();
        return held->stream->write(bytes.data(), bytes.size());
      })
      .then([held] {
        // What was written may still be on its way to the socket; the node hangs up when it has it.
        held->stream->shutdownWrite();
        return held->stream->tryRead(held->rest, 1, sizeof held->rest)
            .ignoreResult()
            .catch_([](kj::Exception&&) {})  // it has its answer, however it ends the connection
            .attach(std::shared_ptr(held));  // this lambda ends before what it returns
      });
}

kj::Promise<msg<schema::Enrolled>> enrolment_server::answer(schema::Enrol::Reader request) {
  auto made = options_.enrol(request);
  if (made) return std::move(*made);
  options_.refused(made.failure().message);
  return on_.timer().afterDelay(to_kj(options_.refusal_delay)).then([why = made.failure()] {
    return refusal(why);
  });
}

void enrolment_server::taskFailed(kj::Exception&& e) {
  options_.refused(e.getDescription().cStr());
}

}  // namespace collm::link
