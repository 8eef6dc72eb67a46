// For link_session_fuzz: the native port over a runtime that answers by itself and judges what
// reaches it.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gateway/port.hpp"
#include "link/connection.hpp"
#include "link/link.hpp"
#include "messages/link.capnp.h"
#include "tests/fuzz/link_session_fuzz.hpp"
#include "tests/fuzz/link_session_stage.hpp"

namespace collm::fuzz {

/// A client of the native port reaches submit, credit, cancel and models, with requests within the
/// bounds of messages/limits.hpp, and nothing else. Loop thread.
class judging_port final : public gateway::port {
 public:
  std::size_t open() const { return open_.size(); }

  void submit(msg<schema::Request> request, std::shared_ptr<gateway::stream> to) override {
    ++reached()["generate"];
    const auto r = request.read();
    judge(*r);
    const std::string model = r->getModel().cStr();
    if (model == "missing") return to->reject(rejected(r->getId()));
    auto [at, fresh] = open_.emplace(r->getId(), answer{to, std::min(r->getMaxTokens(), 40u)});
    COLLM_ASSERT(fresh);
    to->accepted(msg<schema::Accepted>::build(
        [&](schema::Accepted::Builder b) { b.setRequest(r->getId()); }));
    if (model == "held") at->second.credit = 0;
    if (model == "flood") at->second.left = at->second.credit = flood_tokens;
    speak(r->getId());
  }
  void credit(request_id id, std::uint32_t chunks) override {
    COLLM_ASSERT(id >= 1 && id <= last_id_);
    const auto found = open_.find(id);
    if (found == open_.end()) return;
    ++reached()["credit"];
    found->second.credit += chunks;
    speak(id);
  }
  void cancel(request_id id) override {
    COLLM_ASSERT(id >= 1 && id <= last_id_);
    reached()["cancel"] += open_.erase(id);
  }
  request_id next_id() override { return ++last_id_; }
  void models(std::function<void(std::vector<gateway::model_row>)> reply) override {
    ++reached()["models"];
    reply({{"tiny", "tiny.gguf", "", 1'700'000'000}});
  }

  // -- not for a client of the native port
  void status(std::function<void(msg<schema::ClusterStatus>)>) override { COLLM_ASSERT(false); }
  void events(std::uint32_t, std::function<void(std::vector<msg<schema::Event>>)>) override {
    COLLM_ASSERT(false);
  }
  void metrics(std::function<void(std::string)>) override { COLLM_ASSERT(false); }
  using record_reply = std::function<void(result<msg<schema::VersionRecord>>)>;
  void load_adapter(std::string, std::string, record_reply) override { COLLM_ASSERT(false); }
  void unload_adapter(std::string, record_reply) override { COLLM_ASSERT(false); }
  void drain(std::string, bool, std::chrono::milliseconds,
             std::function<void(result<void>)>) override {
    COLLM_ASSERT(false);
  }
  void shutdown(std::function<void(result<void>)>) override { COLLM_ASSERT(false); }
  bool healthy() const override { return true; }
  std::string health_text() const override { return "ok"; }
  bool ready() const override { return true; }

  static result<gateway::prompt_encoder::encoded> encode(const gateway::prompt_encoder::input& in,
                                                         std::uint32_t tokens, std::uint32_t most) {
    if (const auto* chat = std::get_if<std::vector<text::chat_message>>(&in)) {
      COLLM_ASSERT(!chat->empty() && chat->size() <= limits{}.messages_max);
      for (const auto& m : *chat)
        COLLM_ASSERT(m.role == "system" || m.role == "user" || m.role == "assistant");
    } else if (std::get<std::string>(in) == "too long") {
      return error{errc::context_length_exceeded, "the prompt is too long"};
    }
    return gateway::prompt_encoder::encoded{{1, 2, 3}, tokens == 0 ? std::min(most, 5u) : tokens};
  }

 private:
  static constexpr std::uint32_t flood_tokens = 1500;  // of 1024 that may wait

  struct answer {
    std::shared_ptr<gateway::stream> to;
    std::uint32_t left = 0;
    std::uint32_t credit = gateway::stream_credit_start;
    std::uint32_t said = 0;
  };

  static void judge(schema::Request::Reader r) {
    const limits bounds;
    for (const std::string_view name : {r.getModel().cStr(), r.getSite().cStr()})
      for (const unsigned char c : name) COLLM_ASSERT(c >= 0x20 && c != 0x7f);
    COLLM_ASSERT(r.getModel().size() == std::string_view(r.getModel().cStr()).size());
    const auto s = r.getSampling();
    COLLM_ASSERT(s.getTemperature() >= 0 && s.getTemperature() <= 2);
    COLLM_ASSERT(s.getTopP() > 0 && s.getTopP() <= 1);
    COLLM_ASSERT(s.getMinP() >= 0 && s.getMinP() <= 1);
    COLLM_ASSERT(s.getRepetitionPenalty() > 0 && s.getRepetitionPenalty() <= 10);
    COLLM_ASSERT(s.getPresencePenalty() >= -2 && s.getPresencePenalty() <= 2);
    COLLM_ASSERT(s.getFrequencyPenalty() >= -2 && s.getFrequencyPenalty() <= 2);
    COLLM_ASSERT(s.getLogprobs() >= -1);
    COLLM_ASSERT(s.getLogprobs() <= static_cast<int>(bounds.top_logprobs_max));
    COLLM_ASSERT(r.getStops().size() <= bounds.stop_strings_max);
    for (const auto stop : r.getStops())
      COLLM_ASSERT(stop.size() >= 1 && stop.size() <= bounds.stop_string_bytes_max);
    COLLM_ASSERT(r.getChoices() >= 1 && r.getChoices() <= bounds.choices_max);
    COLLM_ASSERT(r.getPrompt().size() == 3 && r.getMaxTokens() >= 1);
    // A client cannot set these: they are a tenant's.
    COLLM_ASSERT(r.getTenant().size() == 0 && r.getCacheSalt() == 0 && r.getInteractive());
  }

  static msg<schema::Reject> rejected(request_id id) {
    return msg<schema::Reject>::build([&](schema::Reject::Builder b) {
      b.setRequest(id);
      b.setCode("not_found");
      b.setMessage("there is no model 'missing'");
    });
  }

  void speak(request_id id) {
    auto& one = open_.at(id);
    for (; one.credit > 0 && one.left > 0; --one.credit, --one.left) {
      one.to->chunk(msg<schema::TokenChunk>::build([&](schema::TokenChunk::Builder b) {
        b.setRequest(id);
        b.setSeq(one.said++);
        b.setText("x");
        b.initTokens(1)[0].setId(7);
      }));
    }
    if (one.left > 0) return;
    one.to->finish(msg<schema::Finish>::build([&](schema::Finish::Builder b) {
      b.setRequest(id);
      b.setReason(schema::FinishReason::LENGTH);
      b.setCompletionTokens(one.said);
    }));
    open_.erase(id);
  }

  std::map<request_id, answer> open_;
  request_id last_id_ = 0;
};

/// Takes a client's tokens.
class counting_sink final : public schema::TokenSink::Server {
 public:
  explicit counting_sink(unsigned& puts) : puts_(puts) {}
  kj::Promise<void> accepted(AcceptedContext) override { return kj::READY_NOW; }
  kj::Promise<void> put(PutContext) override {
    ++puts_;
    return kj::READY_NOW;
  }

 private:
  unsigned& puts_;
};

/// A native port, and a client of it that means well.
class gateway_rig {
 public:
  explicit gateway_rig(stage& on) : on_(on) {
    link::native_options options;
    options.listen = "127.0.0.1:0";
    options.encode = &judging_port::encode;
    options.first_message_timeout = options.idle_timeout = std::chrono::hours(24);
    auto made = link::native_server::start(on.loop(), std::move(options), port_);
    COLLM_ASSERT(made);
    server_ = std::move(*made);
    on_.run([this] {
      good_ = kj::heap<link::connection>(connect(), capnp::rpc::twoparty::Side::CLIENT, nullptr,
                                         limits{}, link::quota{}, on_.loop().timer());
    });
    on_.settle();
  }
  /// Loop thread.
  kj::Own<kj::AsyncIoStream> connect() {
    auto& scope = on_.loop().scope();
    auto& network = on_.loop().io().getNetwork();
    return network.parseAddress("127.0.0.1", server_->port()).wait(scope)->connect().wait(scope);
  }
  /// A visitor is gone, and nothing is left of it.
  void check_left() const {
    COLLM_ASSERT(server_->connections() == 1);
    COLLM_ASSERT(port_->open() == 0);
  }
  /// The client that was there before is answered, right; `thorough`: with tokens, too.
  void check_good(bool thorough) {
    bool pinged = false, made = !thorough;
    on_.run([&] {
      auto gateway = good_->peer().castAs<schema::Gateway>();
      auto ping = gateway.pingRequest();
      ping.setEcho(++echo_);
      asked_ = ping.send().then([&](auto&& got) { pinged = got.getEcho() == echo_; });
      if (thorough) {
        auto call = gateway.generateRequest();
        call.initRequest().initInput().setPrompt("hello");
        call.setSink(kj::heap<counting_sink>(puts_ = 0));
        auto finished = call.send().then([&](auto&& got) {
          made = got.getFinish().getReason() == schema::FinishReason::LENGTH && puts_ == 5;
        });
        asked_ = kj::joinPromises(kj::arr(kj::mv(asked_), kj::mv(finished)));
      }
      asked_ = asked_.eagerlyEvaluate([](kj::Exception&&) {});
    });
    on_.settle();
    COLLM_ASSERT(pinged && made);
  }

 private:
  stage& on_;
  const std::shared_ptr<judging_port> port_ = std::make_shared<judging_port>();
  std::unique_ptr<link::native_server> server_;
  kj::Own<link::connection> good_;
  kj::Promise<void> asked_ = nullptr;
  std::uint64_t echo_ = 0;
  unsigned puts_ = 0;
};

}  // namespace collm::fuzz
