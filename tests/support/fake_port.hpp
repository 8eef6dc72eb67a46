// A runtime for gateway tests. By hand: take() gives what was submitted and the test plays the
// runtime. By itself (answer_all): a tiny deterministic model on a thread of its own honours
// tokens, seeds, stops, choices, credit and cancel.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gateway/nodes_port.hpp"
#include "gateway/port.hpp"
#include "tests/support/fake_training.hpp"
#include "tests/unit/text_tiny.hpp"

namespace collm::gateway::fake {

struct token_spec {
  std::int32_t id = 0;
  float logprob = 0;
  std::vector<std::pair<std::int32_t, float>> top = {};
};

inline msg<schema::Accepted> accepted(request_id id, const std::string& adapter = {},
                                      std::uint32_t version = 0) {
  return msg<schema::Accepted>::build([&](schema::Accepted::Builder b) {
    b.setRequest(id);
    b.setAdapter(adapter);
    b.setVersion(version);
    b.setReplica("fake/0");
  });
}

inline msg<schema::TokenChunk> chunk(request_id id, const std::string& text,
                                     const std::vector<token_spec>& tokens = {},
                                     schema::FinishReason finish = schema::FinishReason::NONE,
                                     std::uint16_t choice = 0) {
  return msg<schema::TokenChunk>::build([&](schema::TokenChunk::Builder b) {
    b.setRequest(id);
    b.setChoice(choice);
    b.setText(text);
    b.setFinish(finish);
    auto list = b.initTokens(static_cast<unsigned>(tokens.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      list[i].setId(static_cast<std::uint32_t>(tokens[i].id));
      list[i].setLogprob(tokens[i].logprob);
      auto top = list[i].initTop(static_cast<unsigned>(tokens[i].top.size()));
      for (unsigned k = 0; k < top.size(); ++k) {
        top[k].setToken(static_cast<std::uint32_t>(tokens[i].top[k].first));
        top[k].setLogprob(tokens[i].top[k].second);
      }
    }
  });
}

inline msg<schema::Finish> finish(request_id id, schema::FinishReason reason,
                                  std::uint32_t prompt = 1, std::uint32_t completion = 1,
                                  std::uint32_t cached = 0, const std::string& message = {}) {
  return msg<schema::Finish>::build([&](schema::Finish::Builder b) {
    b.setRequest(id);
    b.setReason(reason);
    b.setPromptTokens(prompt);
    b.setCompletionTokens(completion);
    b.setCachedTokens(cached);
    b.setMessage(message);
  });
}

inline msg<schema::Reject> reject(request_id id, const std::string& code,
                                  const std::string& message, std::uint32_t retry_after_ms = 0) {
  return msg<schema::Reject>::build([&](schema::Reject::Builder b) {
    b.setRequest(id);
    b.setCode(code);
    b.setMessage(message);
    b.setRetryAfterMs(retry_after_ms);
  });
}

struct submission {
  request_id id = 0;
  msg<schema::Request> request;
  std::shared_ptr<stream> to;
};

/// One answer of the tiny model: bytes of a text that depends on the prompt and, above temperature
/// 0, on the seed.
class tiny_answer {
 public:
  explicit tiny_answer(submission from) : from_(std::move(from)) {
    const auto r = from_.request.read();
    for (const auto id : r->getPrompt()) seed_ = seed_ * 1099511628211u + id;
    if (r->getSampling().getTemperature() > 0) seed_ = seed_ * 31 + r->getSampling().getSeed();
    for (const auto stop : r->getStops()) stops_.emplace_back(stop.cStr(), stop.size());
    choices_ = r->getChoices();
    tokens_max_ = r->getMaxTokens();
    logprobs_ = r->getSampling().getLogprobs();
    prompt_tokens_ = r->getPrompt().size();
    texts_.resize(choices_);
    from_.to->accepted(accepted(
        from_.id, std::string(r->getModel()).find("assistant") == 0 ? "assistant" : "", 3));
  }

  /// One token of one choice; true when the answer is over.
  bool step() {
    const auto choice = static_cast<std::uint16_t>(turn_++ % choices_);
    std::string& text = texts_[choice];
    if (done_.contains(choice)) return false;
    const char c = next_byte(choice, text.size());
    text += c;
    ++completion_tokens_;
    const bool stopped =
        std::any_of(stops_.begin(), stops_.end(), [&](const auto& s) { return text.ends_with(s); });
    const bool full = text.size() >= tokens_max_;
    const auto reason = stopped ? schema::FinishReason::STOP
                        : full  ? schema::FinishReason::LENGTH
                                : schema::FinishReason::NONE;
    from_.to->chunk(chunk(from_.id, stopped ? "" : std::string(1, c), {spec(c)}, reason, choice));
    if (reason != schema::FinishReason::NONE) done_.insert(choice);
    if (done_.size() < choices_) return false;
    from_.to->finish(
        finish(from_.id, schema::FinishReason::STOP, prompt_tokens_, completion_tokens_));
    return true;
  }

 private:
  char next_byte(std::uint32_t choice, std::size_t position) const {
    static constexpr std::string_view letters = "the order is done ";
    const auto mix = (seed_ + choice) * 6364136223846793005u + position * 1442695040888963407u;
    return letters[(mix >> 33) % letters.size()];
  }
  token_spec spec(char c) const {
    token_spec out{text::tiny::byte_token(c), -0.5f, {}};
    if (logprobs_ > 0) out.top.emplace_back(out.id, -0.5f);
    for (std::int16_t i = 1; i < logprobs_; ++i)
      out.top.emplace_back(text::tiny::byte_token(static_cast<char>('A' + i)), -1.0f - i);
    return out;
  }
  submission from_;
  std::uint64_t seed_ = 14695981039346656037u;
  std::vector<std::string> stops_, texts_;
  std::uint32_t choices_ = 1, tokens_max_ = 0, prompt_tokens_ = 0, completion_tokens_ = 0,
                turn_ = 0;
  std::int16_t logprobs_ = -1;
  std::set<std::uint16_t> done_;
};

class port : public gateway::port {
 public:
  ~port() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    if (worker_.joinable()) worker_.join();
  }

  /// From now on the tiny model answers.
  void answer_all() {
    worker_ = std::thread([this] { run(); });
  }

  // -- what a test asks; nothing or false after 10 s
  std::optional<submission> take() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, patience, [&] { return !submitted_.empty(); }))
      return std::nullopt;
    auto out = std::move(submitted_.front());
    submitted_.pop_front();
    return out;
  }
  bool wait_cancelled(request_id id) {
    return wait([&] { return cancelled_.contains(id); });
  }
  bool cancelled(request_id id) {
    std::lock_guard lock(mutex_);
    return cancelled_.contains(id);
  }
  bool wait_credit(request_id id, std::uint32_t at_least) {
    return wait([&] { return credits_[id] >= at_least; });
  }
  std::uint32_t credit_of(request_id id) {
    std::lock_guard lock(mutex_);
    return credits_[id];
  }
  std::size_t submitted_count() {
    std::lock_guard lock(mutex_);
    return submitted_.size();
  }
  bool wait_held_drain() {
    return wait([&] { return !held_drains_.empty(); });
  }
  bool wait_pending_status() {
    return wait([&] { return !held_status_.empty(); });
  }

  // -- what a test sets
  std::vector<model_row> model_rows = {{"tiny", "tiny.gguf", "", 1700000000},
                                       {"assistant", "peft:a", "tiny", 1700000001}};
  std::vector<msg<schema::Event>> event_list;
  std::atomic<bool> is_healthy{true}, is_ready{true};
  std::atomic<bool> hold_status{false};  ///< never answer status
  std::atomic<bool> hold_drain{false};   ///< never answer a drain
  std::function<result<msg<schema::VersionRecord>>(std::string, std::string)> on_load;
  std::string drained = "-";
  std::chrono::milliseconds drain_deadline{-1};
  bool shut_down = false;

  site_double* store = nullptr;           ///< none: no site store here
  federation_double* training = nullptr;  ///< none: nothing is trained
  nodes_port* members = nullptr;          ///< none: this is not the head

  // -- gateway::port
  site_port* site_store() override { return store; }
  federation_port* federation() override { return training; }
  nodes_port* nodes() override { return members; }
  void submit(msg<schema::Request> request, std::shared_ptr<stream> to) override {
    const auto id = request.read()->getId();
    std::lock_guard lock(mutex_);
    submitted_.push_back({id, std::move(request), std::move(to)});
    changed_.notify_all();
  }
  void credit(request_id id, std::uint32_t chunks) override {
    std::lock_guard lock(mutex_);
    credits_[id] += chunks;
    changed_.notify_all();
  }
  void cancel(request_id id) override {
    std::lock_guard lock(mutex_);
    cancelled_.insert(id);
    changed_.notify_all();
  }
  request_id next_id() override { return ++last_id_; }

  void models(std::function<void(std::vector<model_row>)> reply) override { reply(model_rows); }
  void status(std::function<void(msg<schema::ClusterStatus>)> reply) override {
    if (hold_status) {
      std::lock_guard lock(mutex_);
      held_status_.push_back(std::move(reply));
      changed_.notify_all();
      return;
    }
    reply(msg<schema::ClusterStatus>::build([](schema::ClusterStatus::Builder b) {
      b.setCluster("demo");
      b.setBaseName("tiny");
      auto node = b.initNodes(1)[0];
      node.setName("edge-a");
      node.setSite("kitchen");
      node.setState(schema::NodeState::SERVING);
      node.initSnapshot().setHttpAddress("127.0.0.1:8081");
    }));
  }
  void events(std::uint32_t after,
              std::function<void(std::vector<msg<schema::Event>>)> reply) override {
    std::vector<msg<schema::Event>> out;
    {
      std::lock_guard lock(mutex_);
      for (const auto& e : event_list) {
        if (e.read()->getSeq() > after) out.push_back(e);
      }
    }
    reply(std::move(out));
  }
  void add_event(std::uint32_t seq, const std::string& kind) {
    auto m = msg<schema::Event>::build([&](schema::Event::Builder b) {
      b.setSeq(seq);
      b.setKind(kind);
    });
    std::lock_guard lock(mutex_);
    event_list.push_back(std::move(m));
  }
  void metrics(std::function<void(std::string)> reply) override { reply("collm_fake 1\n"); }
  void load_adapter(std::string name, std::string folder,
                    std::function<void(result<msg<schema::VersionRecord>>)> reply) override {
    reply(on_load ? on_load(name, folder) : record(name));
  }
  void unload_adapter(std::string name,
                      std::function<void(result<msg<schema::VersionRecord>>)> reply) override {
    reply(on_load ? on_load(name, "") : record(name));
  }
  void drain(std::string node, bool again, std::chrono::milliseconds deadline,
             std::function<void(result<void>)> reply) override {
    drained = node + (again ? ", again" : "");
    drain_deadline = deadline;
    if (hold_drain) {
      std::lock_guard lock(mutex_);
      held_drains_.push_back(std::move(reply));
      changed_.notify_all();
      return;
    }
    reply(node == "nobody" ? result<void>(error{errc::not_found, "there is no node nobody", 0})
                           : result<void>());
  }
  void shutdown(std::function<void(result<void>)> reply) override {
    shut_down = true;
    reply({});
  }
  bool healthy() const override { return is_healthy; }
  std::string health_text() const override {
    return is_healthy ? "ok" : "the step loop made no turn for 12 s";
  }
  bool ready() const override { return is_ready; }

  static msg<schema::VersionRecord> record(const std::string& name) {
    return msg<schema::VersionRecord>::build([&](schema::VersionRecord::Builder b) {
      b.setAdapter(name);
      b.setNumber(4);
      b.setState(schema::VersionState::SERVING);
    });
  }

 private:
  static constexpr std::chrono::seconds patience{10};
  template <class F>
  bool wait(F done) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience, done);
  }

  void run() {
    std::map<request_id, tiny_answer> live;
    std::map<request_id, std::uint32_t> sent;
    std::unique_lock lock(mutex_);
    const auto may_step = [&](request_id id) {
      return cancelled_.contains(id) || sent[id] < stream_credit_start + credits_[id];
    };
    while (!stopping_) {
      std::deque<submission> fresh = std::exchange(submitted_, {});
      std::vector<request_id> turn;
      for (const auto& [id, one] : live) {
        if (may_step(id)) turn.push_back(id);
      }
      if (fresh.empty() && turn.empty()) {
        changed_.wait(lock);
        continue;
      }
      const auto cancelled = cancelled_;
      lock.unlock();
      for (auto& s : fresh) {
        const auto id = s.id;
        if (std::string(s.request.read()->getModel()).find("missing") == 0) {
          s.to->reject(reject(id, "not_found", "there is no model 'missing'"));
        } else {
          live.emplace(id, tiny_answer(std::move(s)));
        }
      }
      for (const auto id : turn) {
        ++sent[id];
        if (cancelled.contains(id) || live.at(id).step()) live.erase(id);
      }
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<submission> submitted_;
  std::map<request_id, std::uint32_t> credits_;
  std::set<request_id> cancelled_;
  std::vector<std::function<void(msg<schema::ClusterStatus>)>> held_status_;
  std::vector<std::function<void(result<void>)>> held_drains_;
  std::atomic<request_id> last_id_{0};
  bool stopping_ = false;
  std::thread worker_;
};

/// SmolLM2's template, as shipped.
inline constexpr const char* smollm2_jinja =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ "
    "'<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif "
    "%}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% "
    "endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

}  // namespace collm::gateway::fake
