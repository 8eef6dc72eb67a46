#include <arpa/inet.h>
#include <capnp/rpc.capnp.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <algorithm>

#include "link/outcome.hpp"
#include "tests/support/fake_port.hpp"
#include "tests/unit/link_fixture.hpp"

namespace collm::link::testing {
namespace {

namespace fake = gateway::fake;
using ::testing::HasSubstr;

/// A client's sink: notes what it gets; answers puts at once or, if `held`, when told.
class client_sink final : public schema::TokenSink::Server {
 public:
  struct seen {
    std::string text, adapter;
    std::uint32_t puts = 0;
    bool hold = false;
    std::vector<kj::Own<kj::PromiseFulfiller<void>>> held;
  };
  explicit client_sink(seen& to) : to_(to) {}
  kj::Promise<void> accepted(AcceptedContext context) override {
    to_.adapter = context.getParams().getAccepted().getAdapter().cStr();
    return kj::READY_NOW;
  }
  kj::Promise<void> put(PutContext context) override {
    context.allowCancellation();
    ++to_.puts;
    to_.text += context.getParams().getChunk().getText().cStr();
    if (!to_.hold) return kj::READY_NOW;
    auto pair = kj::newPromiseAndFulfiller<void>();
    to_.held.push_back(kj::mv(pair.fulfiller));
    return kj::mv(pair.promise);
  }

 private:
  seen& to_;
};

class link_native : public ::testing::Test {
 protected:
  explicit link_native(std::chrono::milliseconds idle = std::chrono::minutes(1)) {
    native_options options;
    options.idle_timeout = idle;
    options.listen = "127.0.0.1:0";
    options.bounds.connections_max = 40;
    options.bounds.frame_bytes_max = 256u << 10;
    options.first_message_timeout = std::chrono::milliseconds(500);
    options.unread_for_max = std::chrono::milliseconds(2000);
    options.encode = [](const gateway::prompt_encoder::input& in, std::uint32_t tokens,
                        std::uint32_t all) -> result<gateway::prompt_encoder::encoded> {
      const auto* text = std::get_if<std::string>(&in);
      if (text && *text == "too long")
        return error{errc::context_length_exceeded, "prompt is too long"};
      return gateway::prompt_encoder::encoded{{1, 2, static_cast<std::int32_t>(in.index())},
                                              tokens == 0 ? std::min(all, 9u) : tokens};
    };
    start(std::move(options));
    peer_.connect(server_->port());
    peer_.speak();
  }
  ~link_native() noexcept override {
    peer_.drop();
    server_.reset();
  }
  void start(native_options options) {
    auto made = native_server::start(loop_, std::move(options), port_);
    if (!made) throw std::runtime_error(made.failure().message);
    server_ = std::move(*made);
  }

  /// More than a client has credit for.
  template <class Submission>
  static void say_forty_parts(const Submission& s) {
    s.to->accepted(fake::accepted(s.id));
    for (int i = 0; i < 40; ++i) s.to->chunk(fake::chunk(s.id, "x", {{1, 0, {}}}));
  }

  using answer = kj::Promise<msg<schema::Finish>>;
  template <class F>
  answer generate(raw_peer& from, client_sink::seen& to, F&& fill) {
    auto call = from.peer<schema::Gateway>().generateRequest();
    auto request = call.initRequest();
    request.initInput().setPrompt("hello");
    request.setMaxTokens(20);
    fill(request);
    call.setSink(kj::heap<client_sink>(to));
    return call.send().then([](capnp::Response<schema::Gateway::GenerateResults>&& got) {
      return msg<schema::Finish>::copy_of(got.getFinish());
    });
  }
  template <class F>
  std::string refusal(F&& fill) {
    client_sink::seen sink;
    return peer_.failure(generate(peer_, sink, fill).ignoreResult());
  }
  static void plain(schema::TextRequest::Builder) {}
  /// Lets the peer's loop run until it holds, on the other side or this one.
  template <class F>
  bool runs_until(F&& holds) {
    for (int i = 0; i < 20000 && !holds(); ++i)
      peer_.wait(peer_.timer().afterDelay(1 * kj::MILLISECONDS));
    return holds();
  }

  loop loop_;
  std::shared_ptr<fake::port> port_ = std::make_shared<fake::port>();
  std::unique_ptr<native_server> server_;
  raw_peer peer_;
};

TEST_F(link_native, answers_a_ping_and_lists_models) {
  auto gateway = peer_.peer<schema::Gateway>();
  auto ping = gateway.pingRequest();
  ping.setEcho(42);
  EXPECT_EQ(peer_.wait(ping.send().then([](auto&& got) { return got.getEcho(); })), 42u);
  const auto names = peer_.wait(gateway.modelsRequest().send().then([](auto&& got) {
    std::string all;
    for (auto row : got.getModels())
      all += std::string(row.getId().cStr()) + "<" + row.getParent().cStr() + ";";
    return all;
  }));
  EXPECT_EQ(names, "tiny<;assistant<tiny;");
}

TEST_F(link_native, streams_an_answer_and_its_finish) {
  client_sink::seen sink;
  auto answer = generate(peer_, sink, [](auto r) {
    r.setModel("assistant");
    r.getSampling().setSeed(9);
    r.initStops(1).set(0, "END");
  });
  auto got = [&] {
    while (port_->submitted_count() == 0)
      peer_.wait(peer_.timer().afterDelay(1 * kj::MILLISECONDS));
    return port_->take();
  }();
  ASSERT_TRUE(got);
  auto request = got->request.read();
  EXPECT_STREQ(request->getModel().cStr(), "assistant");
  EXPECT_EQ(request->getPrompt().size(), 3u);
  EXPECT_EQ(request->getSampling().getSeed(), 9u);
  EXPECT_STREQ(request->getStops()[0].cStr(), "END");
  EXPECT_STREQ(request->getTenant().cStr(), "");
  got->to->accepted(fake::accepted(got->id, "assistant", 3));
  for (const auto* word : {"one ", "two ", "three"})
    got->to->chunk(fake::chunk(got->id, word, {{1, 0, {}}}));
  got->to->finish(fake::finish(got->id, schema::FinishReason::STOP, 3, 3));
  const auto finish = peer_.wait(kj::mv(answer));
  EXPECT_EQ(finish.read()->getCompletionTokens(), 3u);
  EXPECT_EQ(sink.text, "one two three");
  EXPECT_EQ(sink.adapter, "assistant");
  EXPECT_EQ(port_->credit_of(got->id), 3u);
  EXPECT_FALSE(port_->cancelled(got->id));
}

TEST_F(link_native, serves_64_streams_on_one_connection) {
  port_->answer_all();
  std::vector<client_sink::seen> sinks(64);
  std::vector<answer> answers;
  for (std::size_t i = 0; i < sinks.size(); ++i) {
    answers.push_back(generate(peer_, sinks[i], [](auto r) { r.setMaxTokens(30); }));
  }
  for (auto& one : answers) EXPECT_EQ(peer_.wait(kj::mv(one)).read()->getCompletionTokens(), 30u);
  for (const auto& sink : sinks) {
    EXPECT_EQ(sink.puts, 30u);
    EXPECT_EQ(sink.text, sinks[0].text);
  }
}

TEST_F(link_native, refuses_the_65th_stream_and_takes_it_once_there_is_room) {
  std::vector<client_sink::seen> sinks(64);
  std::vector<answer> open;
  for (auto& sink : sinks) open.push_back(generate(peer_, sink, plain));
  ASSERT_TRUE(runs_until([&] { return port_->submitted_count() == 64; }));
  EXPECT_THAT(refusal(plain), HasSubstr("rate_limited: at most 64 generations"));
  auto first = port_->take();
  open.erase(open.begin());  // dropped: cancelled
  ASSERT_TRUE(runs_until([&] { return port_->cancelled(first->id); }));
  client_sink::seen sink;
  auto again = generate(peer_, sink, plain);
  EXPECT_TRUE(runs_until([&] { return port_->submitted_count() == 64; }));
}

TEST_F(link_native, gives_credit_only_for_what_the_client_has_taken) {
  client_sink::seen sink;
  sink.hold = true;
  auto answer = generate(peer_, sink, plain);
  ASSERT_TRUE(runs_until([&] { return port_->submitted_count() == 1; }));
  auto got = port_->take();
  say_forty_parts(*got);
  ASSERT_TRUE(runs_until([&] { return sink.puts == 16; }));
  EXPECT_EQ(port_->credit_of(got->id), 0u);
  for (int i = 0; i < 3; ++i) sink.held[i]->fulfill();
  EXPECT_TRUE(runs_until([&] { return port_->credit_of(got->id) == 3 && sink.puts == 19; }));
}

TEST_F(link_native, that_stops_lets_a_client_have_the_answer_that_is_made) {
  client_sink::seen sink;
  sink.hold = true;
  auto answer = generate(peer_, sink, plain);
  ASSERT_TRUE(runs_until([&] { return port_->submitted_count() == 1; }));
  auto got = port_->take();
  say_forty_parts(*got);
  got->to->finish(fake::finish(got->id, schema::FinishReason::STOP, 1, 40));
  ASSERT_TRUE(runs_until([&] { return sink.puts == 16; }));
  EXPECT_FALSE(server_->settle(std::chrono::milliseconds(1))) << "it has read sixteen parts";
  std::thread stops([&] {
    EXPECT_TRUE(server_->settle(std::chrono::minutes(1)));
    server_.reset();
  });
  sink.hold = false;
  for (auto& part : sink.held) part->fulfill();
  EXPECT_EQ(peer_.wait(kj::mv(answer)).read()->getCompletionTokens(), 40u);
  EXPECT_EQ(sink.puts, 40u);
  EXPECT_TRUE(peer_.closed());
  stops.join();
}

TEST_F(link_native, cancels_when_the_client_drops_the_call_or_dies) {
  client_sink::seen sink, other_sink;
  auto answer = generate(peer_, sink, plain);
  ASSERT_TRUE(runs_until([&] { return port_->submitted_count() == 1; }));
  const auto first = port_->take();
  answer = nullptr;
  EXPECT_TRUE(runs_until([&] { return port_->cancelled(first->id); }));
  auto second = generate(peer_, other_sink, plain);
  ASSERT_TRUE(runs_until([&] { return port_->submitted_count() == 1; }));
  const auto last = port_->take();
  second = nullptr;
  peer_.drop();
  EXPECT_TRUE(port_->wait_cancelled(last->id));
}

TEST_F(link_native, cancels_when_the_clients_sink_fails) {
  class failing final : public schema::TokenSink::Server {
    kj::Promise<void> accepted(AcceptedContext) override { return kj::READY_NOW; }
    kj::Promise<void> put(PutContext) override { return KJ_EXCEPTION(FAILED, "disk full"); }
  };
  auto call = peer_.peer<schema::Gateway>().generateRequest();
  call.initRequest().initInput().setPrompt("x");
  call.setSink(kj::heap<failing>());
  auto answer = call.send().ignoreResult();
  ASSERT_TRUE(runs_until([&] { return port_->submitted_count() == 1; }));
  auto got = port_->take();
  got->to->chunk(fake::chunk(got->id, "x"));
  EXPECT_THAT(peer_.failure(kj::mv(answer)), HasSubstr("disk full"));
  EXPECT_TRUE(port_->wait_cancelled(got->id));
}

TEST_F(link_native, gives_errors_with_code_and_advice) {
  EXPECT_THAT(refusal([](auto r) { r.getInput().setPrompt("too long"); }),
              HasSubstr("context_length_exceeded: prompt"));
  client_sink::seen sink;
  auto answer = generate(peer_, sink, plain);
  ASSERT_TRUE(runs_until([&] { return port_->submitted_count() == 1; }));
  auto got = port_->take();
  got->to->reject(fake::reject(got->id, "overloaded", "queue full", 1200));
  EXPECT_THAT(peer_.failure(answer.ignoreResult()),
              HasSubstr("overloaded: queue full; retry after 1200 ms"));
}

TEST_F(link_native, names_the_field_that_is_wrong) {
  const auto nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(refusal([](auto r) { r.getSampling().setTemperature(-1); }),
              HasSubstr("sampling.temperature must be"));
  EXPECT_THAT(refusal([&](auto r) { r.getSampling().setTemperature(nan); }),
              HasSubstr("sampling.temperature"));
  EXPECT_THAT(refusal([](auto r) { r.getSampling().setTopP(0); }), HasSubstr("sampling.topP"));
  EXPECT_THAT(refusal([](auto r) { r.getSampling().setMinP(2); }), HasSubstr("sampling.minP"));
  EXPECT_THAT(refusal([](auto r) { r.getSampling().setRepetitionPenalty(0); }),
              HasSubstr("repetitionPenalty"));
  EXPECT_THAT(refusal([](auto r) { r.getSampling().setPresencePenalty(3); }),
              HasSubstr("presencePenalty"));
  EXPECT_THAT(refusal([](auto r) { r.getSampling().setFrequencyPenalty(-3); }),
              HasSubstr("frequencyPenalty"));
  EXPECT_THAT(refusal([](auto r) { r.getSampling().setLogprobs(21); }),
              HasSubstr("sampling.logprobs"));
  EXPECT_THAT(refusal([](auto r) { r.setChoices(17); }), HasSubstr("choices must be 1 to 16"));
  EXPECT_THAT(refusal([](auto r) { r.setChoices(0); }), HasSubstr("choices must be"));
  EXPECT_THAT(refusal([](auto r) { r.initStops(17); }), HasSubstr("stops must be at most 16"));
  EXPECT_THAT(refusal([](auto r) { r.initStops(1).set(0, ""); }),
              HasSubstr("a stop string must be"));
  EXPECT_THAT(refusal([](auto r) { r.getInput().initMessages(1)[0].setRole("root"); }),
              HasSubstr("not \"root\""));
  EXPECT_THAT(refusal([](auto r) { r.getInput().initMessages(0); }),
              HasSubstr("messages must be 1 to"));
  EXPECT_EQ(port_->submitted_count(), 0u);
}

/// A bare socket, without a loop of its own.
class tcp_client {
 public:
  explicit tcp_client(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  }
  ~tcp_client() { ::close(fd_); }
  bool closed_within(std::chrono::milliseconds time) {
    pollfd wait{fd_, POLLIN, 0};
    return ::poll(&wait, 1, static_cast<int>(time.count())) == 1;
  }

 private:
  int fd_;
};

/// Of a server whose clients may not be silent for long.
class link_native_silent : public link_native {
 protected:
  link_native_silent() : link_native(std::chrono::milliseconds(300)) {}
  void open(raw_peer& peer) {
    peer.connect(server_->port());
    peer.speak();
  }
  /// That of which the actors have taken note.
  answer asked(raw_peer& from, client_sink::seen& sink) {
    auto out = generate(from, sink, plain);
    EXPECT_TRUE(runs_until([&] { return port_->submitted_count() == 1; }));
    return out;
  }
};

TEST_F(link_native_silent, a_client_that_says_no_more_is_closed) {
  raw_peer peer(peer_);
  open(peer);
  peer.wait(peer.peer<schema::Gateway>().pingRequest().send().ignoreResult());
  EXPECT_TRUE(peer.closed());
}

TEST_F(link_native_silent, one_that_waits_for_its_answer_is_not_until_it_has_it) {
  raw_peer asks(peer_);
  open(asks);
  client_sink::seen sink;
  auto answer = asked(asks, sink);
  raw_peer later(peer_);
  open(later);
  later.wait(later.peer<schema::Gateway>().pingRequest().send().ignoreResult());
  ASSERT_TRUE(later.closed());  // silent for less time than the other
  const auto got = port_->take();
  got->to->accepted(fake::accepted(got->id));
  got->to->finish(fake::finish(got->id, schema::FinishReason::STOP, 1, 2));
  EXPECT_EQ(asks.wait(kj::mv(answer)).read()->getReason(), schema::FinishReason::STOP);
  EXPECT_TRUE(asks.closed());
}

TEST_F(link_native_silent, one_that_holds_its_own_answer_up_is_closed) {
  raw_peer asks(peer_);
  open(asks);
  client_sink::seen sink;
  sink.hold = true;
  auto answer = asked(asks, sink);
  const auto got = port_->take();
  got->to->accepted(fake::accepted(got->id));
  got->to->chunk(fake::chunk(got->id, "x", {{1, 0, {}}}));
  got->to->finish(fake::finish(got->id, schema::FinishReason::STOP, 1, 1));
  EXPECT_TRUE(asks.closed());
}

// -- hostile peers

class link_native_hostile : public link_native {
 protected:
  void still_serves() {
    raw_peer fresh(peer_);
    fresh.connect(server_->port());
    fresh.speak();
    auto ping = fresh.peer<schema::Gateway>().pingRequest();
    ping.setEcho(1);
    EXPECT_EQ(fresh.wait(ping.send().then([](auto&& got) { return got.getEcho(); })), 1u);
  }
  static std::string frame(capnp::MessageBuilder& message) {
    const auto flat = capnp::messageToFlatArray(message);
    return std::string(flat.asChars().begin(), flat.asChars().size());
  }
  static std::string bootstrap(std::uint32_t question) {
    capnp::MallocMessageBuilder message;
    message.initRoot<capnp::rpc::Message>().initBootstrap().setQuestionId(question);
    return frame(message);
  }
  /// Gateway.generate on what question 0 gave.
  static std::string generate_call(std::uint32_t question) {
    capnp::MallocMessageBuilder message;
    auto call = message.initRoot<capnp::rpc::Message>().initCall();
    call.setQuestionId(question);
    call.initTarget().initPromisedAnswer().setQuestionId(0);
    call.setInterfaceId(capnp::typeId<schema::Gateway>());
    call.setMethodId(1);
    auto request =
        call.initParams().getContent().initAs<schema::Gateway::GenerateParams>().initRequest();
    request.setModel("assistant");
    auto turn = request.initInput().initMessages(1)[0];
    turn.setRole("user");
    turn.setContent("hello");
    call.getParams().initCapTable(1)[0].setSenderHosted(0);
    return frame(message);
  }
  /// Gateway.ping and the word that nobody wants its answer any more.
  static std::string ping(std::uint32_t question) {
    capnp::MallocMessageBuilder message, end;
    auto call = message.initRoot<capnp::rpc::Message>().initCall();
    call.setQuestionId(question);
    call.initTarget().initPromisedAnswer().setQuestionId(0);
    call.setInterfaceId(capnp::typeId<schema::Gateway>());
    call.initParams().getContent().initAs<schema::Gateway::PingParams>();
    end.initRoot<capnp::rpc::Message>().initFinish().setQuestionId(question);
    return frame(message) + frame(end);
  }
  std::uint32_t next() { return state_ = state_ * 1664525u + 1013904223u; }
  std::uint32_t state_ = 99;
};

TEST_F(link_native_hostile, garbage_ends_only_its_own_connection) {
  for (int i = 0; i < 300; ++i) {
    raw_peer peer(peer_);
    peer.connect(server_->port());
    std::string bytes(8 + next() % 600, '\0');
    for (auto& c : bytes) c = static_cast<char>(next() >> 24);
    peer.failure(peer.stream().write(bytes.data(), bytes.size()));
  }
  still_serves();
}

TEST_F(link_native_hostile, mutated_calls_end_at_most_their_own_connection) {
  port_->answer_all();
  const auto good = bootstrap(0) + generate_call(1);
  for (int i = 0; i < 400; ++i) {
    auto bytes = good;
    for (std::uint32_t n = 1 + next() % 4; n > 0; --n) {
      bytes[next() % bytes.size()] = static_cast<char>(next() >> 24);
    }
    raw_peer peer(peer_);
    peer.connect(server_->port());
    peer.failure(peer.stream().write(bytes.data(), bytes.size()));
  }
  still_serves();
}

TEST_F(link_native_hostile, frames_over_the_limit_are_refused_before_they_are_read) {
  raw_peer peer(peer_);
  peer.connect(server_->port());
  const std::uint32_t header[] = {0, 0x20000000};  // one segment of 4 GiB
  peer.wait(peer.stream().write(header, sizeof header));
  EXPECT_TRUE(peer.closed());
  client_sink::seen sink;
  const std::string large(300u << 10, 'x');  // over this server's limit, under the transport's
  EXPECT_THAT(
      peer_.failure(generate(peer_, sink, [&](auto r) { r.getInput().setPrompt(large.c_str()); })
                        .ignoreResult()),
      HasSubstr("too_large"));
  still_serves();
}

TEST_F(link_native_hostile, connections_that_say_nothing_are_closed) {
  raw_peer half(peer_);
  half.connect(server_->port());
  half.wait(half.stream().write("\0\0\0\0\1", 5));  // the first bytes of a frame
  EXPECT_TRUE(half.closed());
  still_serves();
}

TEST_F(link_native_hostile, connections_are_bounded) {
  std::vector<std::unique_ptr<tcp_client>> open;
  for (int i = 0; i < 60; ++i) open.push_back(std::make_unique<tcp_client>(server_->port()));
  EXPECT_TRUE(runs_until([&] { return server_->connections() == 40; }));
  const auto told = [](auto& one) { return one->closed_within(std::chrono::milliseconds(0)); };
  EXPECT_TRUE(runs_until([&] { return std::ranges::any_of(open, told); }));  // not left waiting
  open.clear();
  EXPECT_TRUE(runs_until([&] { return server_->connections() == 1; }));
  still_serves();
}

TEST_F(link_native_hostile, a_client_that_reads_no_answers_is_read_no_further_and_closed) {
  peer_.wait(peer_.peer<schema::Gateway>().pingRequest().send().ignoreResult());  // it stays
  raw_peer peer(peer_);
  peer.connect(server_->port());
  ASSERT_TRUE(runs_until([&] { return server_->connections() == 2; }));
  constexpr std::uint32_t batches_max = 400;  // far more than sockets hold
  std::uint32_t batches = 0;
  for (; batches < batches_max && server_->connections() == 2; ++batches) {
    std::string frames = batches == 0 ? bootstrap(0) : "";
    for (std::uint32_t question = 1; question <= 1024; ++question) frames += ping(question);
    bool over = false;
    auto written = peer.stream()
                       .write(frames.data(), frames.size())
                       .then([&] { over = true; }, [&](kj::Exception&&) { over = true; })
                       .eagerlyEvaluate(nullptr);
    ASSERT_TRUE(runs_until([&] { return over || server_->connections() == 1; }));
  }
  EXPECT_LT(batches, batches_max);
  EXPECT_EQ(server_->connections(), 1u);
  still_serves();
}

TEST_F(link_native_hostile, open_calls_are_bounded) {
  raw_peer peer(peer_);
  peer.connect(server_->port());
  std::string frames;
  for (std::uint32_t question = 0; question < 400; ++question)
    frames += bootstrap(question);  // and no finish
  peer.failure(peer.stream().write(frames.data(), frames.size()));
  EXPECT_TRUE(peer.closed());
  EXPECT_TRUE(runs_until([&] { return server_->connections() == 1; }));
  still_serves();
}

TEST(link_native_start, refuses_addresses_beyond_loopback_and_ports_taken) {
  loop on;
  native_options options;
  options.listen = "0.0.0.0:0";
  auto open = native_server::start(on, options, std::make_shared<fake::port>());
  ASSERT_FALSE(open);
  EXPECT_EQ(open.failure().code, errc::forbidden);
  options.listen = "127.0.0.1:0";
  auto first = native_server::start(on, options, std::make_shared<fake::port>());
  ASSERT_TRUE(first);
  options.listen = "127.0.0.1:" + std::to_string((*first)->port());
  auto second = native_server::start(on, options, std::make_shared<fake::port>());
  ASSERT_FALSE(second);
  EXPECT_THAT(second.failure().message, HasSubstr(options.listen));
}

}  // namespace
}  // namespace collm::link::testing
