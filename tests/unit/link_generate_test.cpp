#include <gmock/gmock.h>

#include "link/stream_buffer.hpp"
#include "link/token_pump.hpp"
#include "tests/unit/link_fixture.hpp"

namespace collm::link::testing {
namespace {

using namespace collm::actors;
using ::testing::HasSubstr;

class link_generate : public cluster_test {
 protected:
  link_generate() {
    start_head();
    node_ = start_node("edge-a");
    router_ = board_->join(0).router;
  }
  ~link_generate() override { router_ = nullptr; }

  std::pair<answer_ptr, sink_actor> ask(request_id id) {
    auto to = std::make_shared<answer>();
    auto sink = spawn_sink(system_, to);
    caf::anon_send(router_, make_request(id), sink);
    return {to, sink};
  }

  router_actor router_;
};

TEST_F(link_generate, streams_an_answer_end_to_end_in_order) {
  auto [to, sink] = ask(7);
  const auto asked = board_->request(0);
  EXPECT_EQ(asked.request.read()->getId(), 7u);
  EXPECT_EQ(asked.request.read()->getPrompt()[2], 102u);
  caf::anon_send(asked.sink, make_accepted(7));
  for (std::uint32_t i = 0; i < 500; ++i)
    caf::anon_send(asked.sink, make_chunk(7, i, std::to_string(i)));
  caf::anon_send(asked.sink, make_stop(7, 500));
  ASSERT_TRUE(to->wait_end());
  EXPECT_EQ(to->accepted, 1u);
  EXPECT_EQ(to->replica, "edge-a/0");
  ASSERT_EQ(to->texts.size(), 500u);
  for (std::uint32_t i = 0; i < 500; ++i) ASSERT_EQ(to->texts[i], std::to_string(i));
  EXPECT_EQ(to->finish, schema::FinishReason::STOP);
  EXPECT_EQ(to->completion_tokens, 500u);
  EXPECT_EQ(board_->look([](const board& b) { return b.cancels.size(); }), 0u);
}

TEST_F(link_generate, a_node_has_settled_when_the_head_has_every_answer) {
  auto [to, sink] = ask(3);
  const auto asked = board_->request(0);
  EXPECT_FALSE(node_->settle(std::chrono::milliseconds(50)));
  caf::anon_send(asked.sink, make_accepted(3));
  caf::anon_send(asked.sink, make_stop(3, 0));
  EXPECT_TRUE(node_->settle(std::chrono::seconds(20)));
  node_.reset();
  ASSERT_TRUE(to->wait_end());
  EXPECT_EQ(to->finish, schema::FinishReason::STOP) << to->message;
  EXPECT_EQ(board_->look([](const board& b) { return b.cancels.size(); }), 0u);
}

TEST_F(link_generate, streams_many_answers_side_by_side) {
  constexpr std::uint32_t requests = 120, chunks = 60;
  std::vector<answer_ptr> answers;
  for (request_id id = 0; id < requests; ++id) answers.push_back(ask(id).first);
  board_->request(requests - 1);
  const auto all = board_->look([](const board& b) { return b.requests; });
  for (const auto& one : all) caf::anon_send(one.sink, make_accepted(one.request.read()->getId()));
  for (std::uint32_t i = 0; i < chunks; ++i) {
    for (const auto& one : all) {
      const auto id = one.request.read()->getId();
      caf::anon_send(one.sink, make_chunk(id, i, std::to_string(id * 1000 + i)));
    }
  }
  for (const auto& one : all)
    caf::anon_send(one.sink, make_stop(one.request.read()->getId(), chunks));
  for (request_id id = 0; id < requests; ++id) {
    ASSERT_TRUE(answers[id]->wait_end()) << id;
    EXPECT_EQ(answers[id]->finish, schema::FinishReason::STOP) << answers[id]->message;
    ASSERT_EQ(answers[id]->texts.size(), chunks);
    EXPECT_EQ(answers[id]->texts.back(), std::to_string(id * 1000 + chunks - 1));
  }
}

TEST_F(link_generate, passes_a_reject_on_as_it_is) {
  auto [to, sink] = ask(1);
  caf::anon_send(board_->request(0).sink, msg<schema::Reject>::build([](schema::Reject::Builder m) {
                   m.setRequest(1);
                   m.setCode("overloaded");
                   m.setMessage("queue full");
                   m.setRetryAfterMs(1200);
                 }));
  ASSERT_TRUE(to->wait_end());
  EXPECT_EQ(to->reject_code, "overloaded");
  EXPECT_EQ(to->message, "queue full");
  EXPECT_EQ(to->retry_after_ms, 1200u);
}

TEST_F(link_generate, tells_the_node_of_a_cancel) {
  auto [to, sink] = ask(9);
  const auto asked = board_->request(0);
  caf::anon_send(asked.sink, make_accepted(9));
  caf::anon_send(asked.sink, make_chunk(9, 0, "a"));
  ASSERT_TRUE(to->wait([](const answer& a) { return a.texts.size() == 1; }));
  caf::anon_send(router_, cancel_atom::value, request_id{9}, sink);
  ASSERT_TRUE(board_->wait([](const board& b) { return b.cancels.size() == 1; }));
  EXPECT_EQ(board_->look([](const board& b) { return b.cancels[0].first; }), 9u);
  EXPECT_TRUE(board_->look([&](const board& b) { return b.cancels[0].second == asked.sink; }));
  ASSERT_TRUE(to->wait_end());
  EXPECT_EQ(to->finish, schema::FinishReason::CANCELLED);
}

TEST_F(link_generate, keeps_equal_numbers_of_two_gateways_apart) {
  auto [first, first_sink] = ask(3);
  const auto one = board_->request(0);
  auto [second, second_sink] = ask(3);
  const auto two = board_->request(1);
  caf::anon_send(router_, cancel_atom::value, request_id{3}, first_sink);
  ASSERT_TRUE(first->wait_end());
  EXPECT_EQ(first->reject_code, "cancelled");
  caf::anon_send(two.sink, make_accepted(3));
  caf::anon_send(two.sink, make_chunk(3, 0, "second"));
  caf::anon_send(two.sink, make_stop(3, 1));
  ASSERT_TRUE(second->wait_end());
  EXPECT_EQ(second->texts, std::vector<std::string>{"second"});
  EXPECT_TRUE(first->texts.empty());
}

TEST_F(link_generate, is_rejected_as_unavailable_when_the_link_is_lost_before_accepted) {
  auto [to, sink] = ask(1);
  const auto asked = board_->request(0);
  head_->disconnect("edge-a", "pulled");
  ASSERT_TRUE(to->wait_end());
  EXPECT_EQ(to->reject_code, "unavailable");
  EXPECT_THAT(to->message, HasSubstr("edge-a was lost: pulled"));
  EXPECT_TRUE(board_->wait(
      [](const board& b) { return b.cancels.size() == 1; }));  // the node stops working on it
  EXPECT_EQ(to->ends, 1u);
}

TEST_F(link_generate, ends_with_an_error_when_the_link_is_lost_after_accepted) {
  auto [to, sink] = ask(1);
  const auto asked = board_->request(0);
  caf::anon_send(asked.sink, make_accepted(1));
  caf::anon_send(asked.sink, make_chunk(1, 0, "half"));
  ASSERT_TRUE(to->wait([](const answer& a) { return a.texts.size() == 1; }));
  node_.reset();  // the process ends
  ASSERT_TRUE(to->wait_end());
  EXPECT_EQ(to->finish, schema::FinishReason::ERROR);
  EXPECT_EQ(to->reject_code, "");
  EXPECT_TRUE(board_->wait([](const board& b) { return b.leaves.size() == 1; }));
  auto [late, late_sink] = ask(2);  // by the proxy that outlives its connection
  ASSERT_TRUE(late->wait_end());
  EXPECT_EQ(late->reject_code, "unavailable");
}

TEST_F(link_generate, is_rejected_when_the_serving_actor_dies) {
  auto [to, sink] = ask(1);
  board_->request(0);
  board_->note([](board& b) { b.requests.clear(); });  // nobody holds the sink any more
  ASSERT_TRUE(to->wait_end());
  EXPECT_EQ(to->reject_code, "unavailable");
  EXPECT_THAT(to->message, HasSubstr("has ended"));
}

TEST_F(link_generate, is_refused_once_the_proxy_drains) {
  caf::anon_send(router_, drain_atom::value);
  auto [to, sink] = ask(1);
  ASSERT_TRUE(to->wait_end());
  EXPECT_EQ(to->reject_code, "draining");
}

TEST_F(link_generate, ends_every_request_when_the_head_stops) {
  std::vector<answer_ptr> answers;
  for (request_id id = 0; id < 20; ++id) answers.push_back(ask(id).first);
  board_->request(19);
  head_.reset();
  for (const auto& to : answers) {
    ASSERT_TRUE(to->wait_end());
    EXPECT_EQ(to->reject_code, "unavailable");
  }
}

// -- a node that does not keep to the protocol

class lying_node final : public schema::Node::Server {
 public:
  explicit lying_node(std::vector<std::string>& failures) : failures_(failures) {}
  kj::Promise<void> generate(GenerateContext context) override {
    const auto id = context.getParams().getRequest().getId();
    auto sink = context.getParams().getSink();
    auto early = sink.putRequest();
    early.initChunk().setRequest(id);
    auto other = sink.acceptedRequest();
    other.initAccepted().setRequest(id + 1);
    auto right = sink.acceptedRequest();
    right.initAccepted().setRequest(id);
    auto twice = sink.acceptedRequest();
    twice.initAccepted().setRequest(id);
    auto tries = kj::heapArrayBuilder<kj::Promise<void>>(4);
    tries.add(note(early.send().ignoreResult()));
    tries.add(note(other.send().ignoreResult()));
    tries.add(note(right.send().ignoreResult()));
    tries.add(note(twice.send().ignoreResult()));
    return kj::joinPromises(tries.finish()).then([]() -> kj::Promise<void> {
      return KJ_EXCEPTION(FAILED, "I give up");
    });
  }

 private:
  kj::Promise<void> note(kj::Promise<void> call) {
    return call.catch_(
        [this](kj::Exception&& e) { failures_.push_back(e.getDescription().cStr()); });
  }
  std::vector<std::string>& failures_;
};

TEST_F(link_generate, holds_a_node_to_the_order_of_an_answer) {
  std::vector<std::string> failures;
  raw_peer peer;
  const auto files = node_files(demo_certificates(), "edge-b");
  peer.connect_tls(port_, &files, files.authority);
  peer.speak();
  auto call = peer.peer<schema::Head>().joinRequest();
  call.setHello(*make_hello("edge-b").read());
  call.setNode(kj::heap<lying_node>(failures));
  auto joined = peer.wait(call.send().then([](auto&& answer) { return answer.getSession(); }));
  router_ = board_->join(1).router;
  auto [to, sink] = ask(5);
  const auto done = [&] { return failures.size() == 3; };
  while (!done()) peer.wait(peer.timer().afterDelay(1 * kj::MILLISECONDS));
  EXPECT_THAT(failures[0], HasSubstr("was not accepted yet"));
  EXPECT_THAT(failures[1], HasSubstr("is not the one"));
  EXPECT_THAT(failures[2], HasSubstr("was accepted already"));
  peer.wait(peer.timer().afterDelay(1 * kj::MILLISECONDS));  // sends the failure
  ASSERT_TRUE(to->wait_end());
  EXPECT_EQ(to->finish, schema::FinishReason::ERROR);
  EXPECT_THAT(to->message, HasSubstr("node edge-b: I give up"));
}

// -- the pump: credit and its bound

/// Takes calls and answers them when told.
class held_sink final : public schema::TokenSink::Server {
 public:
  struct seen {
    std::uint32_t puts = 0;
    std::vector<kj::Own<kj::PromiseFulfiller<void>>> held;
  };
  explicit held_sink(seen& to) : to_(to) {}
  kj::Promise<void> accepted(AcceptedContext) override { return kj::READY_NOW; }
  kj::Promise<void> put(PutContext context) override {
    context.allowCancellation();
    ++to_.puts;
    auto pair = kj::newPromiseAndFulfiller<void>();
    to_.held.push_back(kj::mv(pair.fulfiller));
    return kj::mv(pair.promise);
  }

 private:
  seen& to_;
};

struct pump_test : ::testing::Test {
  pump_test() {
    on.call([&] {
      pump = std::make_shared<token_pump>(
          buffer, schema::TokenSink::Client(kj::heap<held_sink>(seen)), [this] { ++answered; });
      buffer->read_by(pump);
      ended = pump->run().eagerlyEvaluate(nullptr);
    });
  }
  ~pump_test() noexcept override {
    on.call([&] {
      ended = nullptr;
      pump.reset();
      seen.held.clear();
    });
  }
  void push(std::uint32_t from, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) buffer->push(make_chunk(1, from + i, "x"));
  }
  /// On the loop, after everything that was posted before and what followed from it.
  template <class F>
  auto settled(F&& look) {
    for (int i = 0; i < 4; ++i) on.call([] {});
    return on.call(look);
  }

  loop on;
  std::shared_ptr<stream_buffer> buffer = std::make_shared<stream_buffer>(on.outside(), 1, 1024);
  held_sink::seen seen;
  std::uint32_t answered = 0;
  std::shared_ptr<token_pump> pump;
  kj::Promise<void> ended = nullptr;
};

TEST_F(pump_test, leaves_at_most_16_calls_unanswered) {
  push(0, 100);
  EXPECT_EQ(settled([&] { return seen.puts; }), 16u);
  on.call([&] {
    for (int i = 0; i < 5; ++i) seen.held[i]->fulfill();
  });
  EXPECT_EQ(settled([&] { return seen.puts; }), 21u);
  EXPECT_EQ(settled([&] { return answered; }), 5u);
}

TEST_F(pump_test, ends_a_slow_reader_when_its_buffer_is_full) {
  push(0, 16);
  EXPECT_EQ(settled([&] { return seen.puts; }), 16u);
  push(16, 1024);
  EXPECT_EQ(settled([&] { return ended.poll(on.scope()); }), false);
  push(2000, 1);
  EXPECT_EQ(settled([&] { return ended.poll(on.scope()); }), true);
  on.call([&] {
    auto view = std::get<msg<schema::Finish>>(pump->outcome()).read();
    EXPECT_EQ(view->getReason(), schema::FinishReason::SLOW_READER);
    EXPECT_EQ(view->getCompletionTokens(), 16u);
    EXPECT_FALSE(pump->source_ended());  // so whoever makes the tokens is told
  });
}

TEST_F(pump_test, ends_after_the_last_answer) {
  push(0, 3);
  buffer->push(make_stop(1, 3));
  buffer->push(make_chunk(1, 9, "after the end"));
  EXPECT_EQ(settled([&] { return ended.poll(on.scope()); }), false);
  on.call([&] {
    for (auto& call : seen.held) call->fulfill();
  });
  EXPECT_EQ(settled([&] { return ended.poll(on.scope()); }), true);
  EXPECT_EQ(settled([&] { return seen.puts; }), 3u);
  EXPECT_TRUE(pump->source_ended());
}

TEST_F(pump_test, ends_when_the_source_is_abandoned) {
  buffer->push(make_accepted(1));
  buffer->abandon("gone");
  EXPECT_EQ(settled([&] { return ended.poll(on.scope()); }), true);
  on.call([&] {
    auto view = std::get<msg<schema::Finish>>(pump->outcome()).read();
    EXPECT_EQ(view->getReason(), schema::FinishReason::ERROR);
  });
}

}  // namespace
}  // namespace collm::link::testing
