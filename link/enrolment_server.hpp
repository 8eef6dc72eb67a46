// The head's end of messages/enrolment.capnp: a TLS port without client certificates that takes one
// small message, answers it and hangs up. Who floods it delays other enrolments, nothing else: few
// connections at once, each short, refusals answered late. Loop thread.
#pragma once

#include <kj/async-io.h>
#include <kj/compat/tls.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "link/certificates.hpp"
#include "link/loop.hpp"
#include "messages/enrolment.capnp.h"
#include "messages/msg.hpp"
#include "messages/result.hpp"

namespace collm::link {

struct enrolment_options {
  std::string listen;  ///< "10.0.0.5:8098"; port 0: any free one
  tls_files tls;       ///< the head's
  std::chrono::milliseconds handshake_max{3000};
  std::chrono::milliseconds connection_max{10000};  ///< from its start to its end
  std::chrono::milliseconds refusal_delay{1000};    ///< what a guess costs
  /// Decides; called on the loop thread.
  std::function<result<msg<schema::Enrolled>>(schema::Enrol::Reader)> enrol;
  std::function<void(const std::string& why)> refused;  ///< for the log
};

class enrolment_server final : private kj::TaskSet::ErrorHandler {
 public:
  static constexpr std::size_t connections_max = 8;
  static constexpr std::size_t request_bytes_max = 4096;

  static result<std::unique_ptr<enrolment_server>> start(loop& on, enrolment_options options);
  std::uint16_t port() { return static_cast<std::uint16_t>(receiver_->getPort()); }

 private:
  enrolment_server(loop& on, enrolment_options options, kj::Own<kj::TlsContext> secure,
                   kj::Own<kj::ConnectionReceiver> receiver);
  kj::Promise<void> accept();
  kj::Promise<void> serve(kj::Own<kj::AsyncIoStream> stream);
  kj::Promise<msg<schema::Enrolled>> answer(schema::Enrol::Reader request);
  void taskFailed(kj::Exception&& e) override;

  loop& on_;
  const enrolment_options options_;
  kj::Own<kj::TlsContext> tls_;
  kj::Own<kj::ConnectionReceiver> receiver_;
  std::size_t open_ = 0;
  kj::TaskSet tasks_;  // first to go
};

}  // namespace collm::link
