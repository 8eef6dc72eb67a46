// Does federated learning pay on the built-in demo? Two sites learn in this process by our own
// trainer on the int8 base, one thread each: 'alone', each for itself, and 'together', merged after
// every round by our own aggregation. Held-out answers of the report split, half of them said by
// visitors, count as right if at every place the reference's token, the end mark included, is the
// most likely one: what greedy decoding would have written. One JSON line for each glance.
//
//     learning_bench MODEL CACHE_DIR [key=value …]
//     steps=96 tokens=512 rate=3e-3 warmup=6 plus=1 rank=8 alpha=16 round=24 aggregate=fedavg
//     arms=together,alone glance=100 final=200 every=24 seed=1 controls=0
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "bench/key_values.hpp"
#include "bench/merging.hpp"
#include "demo/demo.hpp"
#include "engine/engine.hpp"
#include "text/chat_template.hpp"

namespace collm::bench {
namespace {

using json = nlohmann::ordered_json;
using clock = std::chrono::steady_clock;

/// Every setting and its default.
key_values settings_of(int count, char** words) {
  return {{{"steps", "96"},
           {"tokens", "512"},
           {"rate", "3e-3"},
           {"warmup", "6"},
           {"plus", "1"},
           {"rank", "8"},
           {"alpha", "16"},
           {"round", "24"},
           {"every", "24"},
           {"aggregate", "fedavg"},
           {"glance", "100"},
           {"final", "200"},
           {"controls", "0"},
           {"seed", "1"},
           {"schedule", "constant"},
           {"arms", "together,alone"}},
          count,
          words};
}

struct question {
  engine::training_sample sample;
  bool visitor = false;
};

/// The tokens of conversations, as a shadow learns them: the loss is over the answer and its end.
class encoder {
 public:
  explicit encoder(const engine::base& b)
      : tokens_(must(text::tokenizer::make(b.vocabulary()))),
        chat_(must(text::chat_template::recognise(b.vocabulary().chat_template))) {}

  std::vector<question> made(demo::site where, demo::split part, std::uint32_t count,
                             std::uint64_t seed, std::span<const demo::example> shots = {}) const {
    std::vector<question> all;
    for (const auto& e : must(demo::generate(where, part, count, seed)))
      all.push_back(encoded(e, shots));
    return all;
  }

 private:
  question encoded(const demo::example& e, std::span<const demo::example> shots) const {
    std::vector<text::chat_message> turns{{e.messages[0].role, e.messages[0].content}};
    for (const auto& shot : shots) {
      turns.push_back({"user", shot.messages[1].content});
      turns.push_back({"assistant", shot.reference});
    }
    turns.push_back({e.messages[1].role, e.messages[1].content});
    question q{{must(chat_.encode(*tokens_, turns, true)), 0}, (e.traits & demo::visitor) != 0};
    q.sample.prompt_tokens = static_cast<std::uint32_t>(q.sample.tokens.size());
    for (const auto t : tokens_->encode(e.reference + "<|im_end|>", true))
      q.sample.tokens.push_back(t);
    return q;
  }

  std::shared_ptr<const text::tokenizer> tokens_;
  text::chat_template chat_;
};

/// One site: its record, its held-out questions, its shadow.
class learner {
 public:
  learner(engine::base_ptr b, engine::adapter_ptr first, const engine::training_options& options,
          const encoder& encode, demo::site where, const key_values& set)
      : shadow_(must(engine::make_trainer(b, first, options))),
        record_(encode.made(where, demo::split::train, 4000, set.number("seed"))),
        held_out_(encode.made(where, demo::split::report, set.number("final"), 1)),
        batch_tokens_(options.batch_tokens) {}

  void train(std::uint32_t steps) {
    const auto started = clock::now();
    for (std::uint32_t s = 0; s < steps; ++s) {
      must(shadow_->begin_batch(batch()));
      for (bool done = false; !done;)
        if (const auto unit = must(shadow_->run()); unit.batch) {
          loss_ = unit.batch->loss;
          tokens_ += unit.batch->tokens;
          round_tokens_ += unit.batch->tokens;
          done = true;
        }
    }
    seconds_ += std::chrono::duration<double>(clock::now() - started).count();
  }

  json judged(std::uint32_t count) { return judged(held_out_, count); }

  json judged(const std::vector<question>& questions, std::uint32_t count) {
    std::vector<engine::training_sample> samples;
    for (std::uint32_t i = 0; i < count; ++i) samples.push_back(questions[i].sample);
    must(shadow_->begin_evaluation(std::move(samples), nullptr));
    std::vector<engine::sequence_score> scores;
    for (bool done = false; !done;)
      if (const auto unit = must(shadow_->run()); unit.scores) {
        scores = *unit.scores;
        done = true;
      }
    double right = 0, of_visitors = 0, visitors = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      right += scores[i].exact;
      visitors += questions[i].visitor;
      of_visitors += questions[i].visitor && scores[i].exact;
    }
    return {{"right", right / count},
            {"own_staff", (right - of_visitors) / (count - visitors)},
            {"visitors", of_visitors / visitors}};
  }

  engine::trainer& shadow() { return *shadow_; }
  std::int64_t take_round_tokens() { return std::exchange(round_tokens_, 0); }
  double loss() const { return loss_; }
  std::uint64_t tokens() const { return tokens_; }
  double seconds() const { return seconds_; }

 private:
  std::vector<engine::training_sample> batch() {
    std::vector<engine::training_sample> some;
    std::size_t size = 0;
    for (;; next_ = (next_ + 1) % record_.size()) {
      size += record_[next_].sample.tokens.size();
      if (size > batch_tokens_) return some;
      some.push_back(record_[next_].sample);
    }
  }

  std::unique_ptr<engine::trainer> shadow_;
  std::vector<question> record_, held_out_;
  std::uint32_t batch_tokens_;
  std::size_t next_ = 0;
  std::uint64_t tokens_ = 0;
  std::int64_t round_tokens_ = 0;
  double loss_ = 0, seconds_ = 0;
};

template <class F>
void at_both(std::vector<std::unique_ptr<learner>>& sites, F work) {
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < sites.size(); ++i)
    threads.emplace_back([&, i] { work(*sites[i], i); });
  for (auto& t : threads) t.join();
}

engine::training_options options_of(const key_values& set) {
  engine::training_options o;
  o.learning_rate = set.real("rate");
  o.warmup_steps = set.number("warmup");
  o.lora_plus_ratio = set.real("plus");
  o.batch_tokens = set.number("tokens");
  o.sample_tokens = std::min(o.sample_tokens, o.batch_tokens);
  if (set.text("schedule") == "cosine") {
    o.schedule = engine::rate_schedule::cosine;
    o.total_steps = set.number("steps");
  }
  return o;
}

class bench {
 public:
  bench(const char* model, const char* cache, const key_values& set)
      : set_(set),
        base_(must(engine::open_base(model, engine::precision::int8, cache))),
        encode_(*base_),
        first_(must(engine::initial_adapter(*base_, set.number("rank"), set.real("alpha"),
                                            {"q", "k", "v", "o", "gate", "up", "down"},
                                            set.number("seed")))) {}

  void learn(const std::string& arm) {
    auto sites = fresh();
    merging rounds(first_, strategy_of(set_.text("aggregate")), set_.real("alpha"));
    const bool together = arm == "together";
    if (together) rounds.begin(shadows_of(sites));
    const auto steps = set_.number("steps"), every = set_.number("every"),
               length = set_.number("round");
    for (std::uint32_t step = 0; step < steps;) {
      auto next = std::min(steps, step - step % every + every);
      if (together) next = std::min(next, step - step % length + length);
      at_both(sites, [&](learner& s, std::size_t) { s.train(next - step); });
      step = next;
      double error = -1;
      if (together && (step % length == 0 || step == steps)) {
        error = rounds.merge(work_of(sites));
        rounds.begin(shadows_of(sites));
      }
      if (step % every == 0 || step == steps)
        report(arm, sites, step, error, set_.number(step == steps ? "final" : "glance"));
    }
  }

  void controls() {
    auto sites = fresh();
    report("base", sites, 0, -1, set_.number("glance"));
    std::vector<json> rows(sites.size());
    at_both(sites, [&](learner& s, std::size_t i) {
      const auto shots = must(demo::generate(demo::sites[i], demo::split::train, 5, 1));
      const auto count = set_.number("glance");
      rows[i] = s.judged(encode_.made(demo::sites[i], demo::split::report, count, 1, shots), count);
    });
    print({{"arm", "base, five examples in the prompt"}, {"step", 0}}, rows);
  }

 private:
  std::vector<std::unique_ptr<learner>> fresh() {
    std::vector<std::unique_ptr<learner>> sites;
    for (const auto where : demo::sites)
      sites.push_back(
          std::make_unique<learner>(base_, first_, options_of(set_), encode_, where, set_));
    return sites;
  }

  using learners = std::vector<std::unique_ptr<learner>>;
  static std::vector<engine::trainer*> shadows_of(const learners& sites) {
    std::vector<engine::trainer*> all;
    for (const auto& s : sites) all.push_back(&s->shadow());
    return all;
  }
  static std::vector<merging::client> work_of(const learners& sites) {
    std::vector<merging::client> all;
    for (const auto& s : sites) all.push_back({&s->shadow(), s->take_round_tokens()});
    return all;
  }

  void report(const std::string& arm, std::vector<std::unique_ptr<learner>>& sites,
              std::uint32_t step, double error, std::uint32_t count) {
    std::vector<json> rows(sites.size());
    at_both(sites, [&](learner& s, std::size_t i) {
      rows[i] = s.judged(count);
      rows[i]["loss"] = s.loss();
    });
    json head{{"arm", arm},
              {"step", step},
              {"tokens_per_site", sites[0]->tokens()},
              {"training_seconds", std::max(sites[0]->seconds(), sites[1]->seconds())},
              {"examples_per_site", count}};
    if (error >= 0) head["aggregation_error"] = error;
    print(std::move(head), rows);
  }

  static void print(json head, const std::vector<json>& rows) {
    for (std::size_t i = 0; i < rows.size(); ++i)
      head[std::string(demo::to_string(demo::sites[i]))] = rows[i];
    std::printf("%s\n", head.dump().c_str());
    std::fflush(stdout);
  }

  const key_values& set_;
  engine::base_ptr base_;
  encoder encode_;
  engine::adapter_ptr first_;
};

int run(int count, char** words) {
  const auto set = settings_of(count - 3, words + 3);
  std::printf("%s\n", json{{"settings", set.all()}}.dump().c_str());
  bench b(words[1], words[2], set);
  if (set.text("controls") == "1") b.controls();
  for (const std::string arm : {"together", "alone"})
    if (set.text("arms").find(arm) != std::string::npos) b.learn(arm);
  return 0;
}

}  // namespace
}  // namespace collm::bench

int main(int count, char** words) {
  if (count >= 3) return collm::bench::run(count, words);
  std::fprintf(stderr, "usage: learning_bench MODEL CACHE_DIR [key=value …]\n");
  return 2;
}
