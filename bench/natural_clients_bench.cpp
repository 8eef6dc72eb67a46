// Do clients whose data differ by nature learn better together? One arm with one seed, in this
// process, by our own trainer on the int8 base and our own aggregation; all clients take turns on
// one thread. bench/natural_clients.py feeds it and makes the tables. A row of FILE is a line of
// JSON: `client`, `set` ("train" or "held_out"), and `messages` (the last one the assistant's) or
// `prompt` and `completion`. The loss is over the completion and the end of the turn.
//
//     natural_clients_bench MODEL CACHE_DIR FILE [key=value …]
//     arm=alone seed=1 glances=20,40 round=5 tokens=384 sample=160 completion=96 rate=2e-3 warmup=4
//     rank=8 alpha=16 precision=int8
//
// Arms: base (the adapter before any step); alone (each client for itself); fedavg, ffa, rolora,
// stack_svd (a merge after each `round` steps); pooled (one trainer, each of its batches is the
// clients' batches of that step together); pooled_one (one trainer on all rows shuffled, as many
// tokens a step as one client). One JSON line a glance: held-out loss by client, and the processor
// time of the thread so far: a client's own is what it would wait for on a core of its own.
#include <algorithm>
#include <ctime>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "bench/key_values.hpp"
#include "bench/merging.hpp"
#include "engine/engine.hpp"
#include "text/chat_template.hpp"

namespace collm::bench {
namespace {

using json = nlohmann::ordered_json;
using samples = std::vector<engine::training_sample>;

double thread_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

key_values settings_of(int count, char** words) {
  return {{{"arm", "alone"},
           {"seed", "1"},
           {"glances", "20,40"},
           {"round", "5"},
           {"tokens", "384"},
           {"sample", "160"},
           {"completion", "96"},
           {"rate", "2e-3"},
           {"warmup", "4"},
           {"rank", "8"},
           {"alpha", "16"},
           {"precision", "int8"}},
          count,
          words};
}

engine::precision precision_of(const key_values& set) {
  const auto& name = set.text("precision");
  if (name != "int8" && name != "f32") stop("precision=" + name + ": must be int8 or f32");
  return name == "int8" ? engine::precision::int8 : engine::precision::f32;
}

struct client_rows {
  samples train, held_out;
  std::uint32_t too_long = 0;
};

/// Rows as samples of bounded length: of a plain prompt the end stays, of a chat the last turns, of
/// a completion the beginning (without the mark of its end then).
class encoder {
 public:
  encoder(const engine::base& b, const key_values& set)
      : tokens_(must(text::tokenizer::make(b.vocabulary()))),
        chat_(must(text::chat_template::recognise(b.vocabulary().chat_template))),
        sample_(set.number("sample")),
        completion_(set.number("completion")) {}

  std::map<std::string, client_rows> read(const std::string& file) const {
    std::ifstream in(file);
    if (!in) stop(file + " cannot be read");
    std::map<std::string, client_rows> all;
    std::uint64_t number = 0;
    for (std::string line; std::getline(in, line);) {
      const auto where = file + ":" + std::to_string(++number);
      const auto row = json::parse(line, nullptr, false);
      const auto set = row.is_object() ? row.value("set", "") : "";
      if (set != "train" && set != "held_out") stop(where + ": 'set' must be train or held_out");
      auto& client = all[row.value("client", "")];
      auto sample = encoded(row, where);
      if (sample.tokens.empty())
        ++client.too_long;
      else
        (set == "train" ? client.train : client.held_out).push_back(std::move(sample));
    }
    for (const auto& [name, c] : all)
      if (c.train.empty() || c.held_out.empty())
        stop(file + ": client '" + name + "' needs rows of both sets");
    if (all.empty()) stop(file + " has no row");
    return all;
  }

 private:
  using ids = std::vector<std::int32_t>;

  engine::training_sample encoded(const json& row, const std::string& where) const {
    const bool chat = row.contains("messages");
    std::vector<text::chat_message> turns;
    std::string answer;
    if (chat) {
      for (const auto& m : row.at("messages"))
        turns.push_back({m.value("role", ""), m.value("content", "")});
      if (turns.size() < 2 || turns.back().role != "assistant")
        stop(where + ": the last of 'messages' must be the assistant's, after a question");
      answer = turns.back().content;
      turns.pop_back();
    } else {
      answer = row.value("completion", "");
      if (answer.empty() || row.value("prompt", "").empty())
        stop(where + ": must have 'messages', or 'prompt' and 'completion'");
    }
    ids said = tokens_->encode(answer, false);
    said.push_back(tokens_->vocab().eos);
    said.resize(std::min<std::size_t>(said.size(), completion_));
    const auto room = sample_ - said.size();
    auto asked = chat ? last_turns(turns, room)
                      : last(tokens_->encode_prompt(row.value("prompt", "")), room);
    if (asked.empty()) return {};
    engine::training_sample s{std::move(asked), 0};
    s.prompt_tokens = static_cast<std::uint32_t>(s.tokens.size());
    s.tokens.insert(s.tokens.end(), said.begin(), said.end());
    return s;
  }

  static ids last(ids all, std::size_t count) {
    if (all.size() > count) all.erase(all.begin(), all.end() - static_cast<std::ptrdiff_t>(count));
    return all;
  }

  /// Empty: not even the last question fits.
  ids last_turns(std::vector<text::chat_message> turns, std::size_t count) const {
    for (;; turns.erase(turns.begin(), turns.begin() + 2)) {
      auto all = must(chat_.encode(*tokens_, turns, true));
      if (all.size() <= count) return all;
      if (turns.size() < 3) return {};
    }
  }

  std::shared_ptr<const text::tokenizer> tokens_;
  text::chat_template chat_;
  std::size_t sample_, completion_;
};

/// Rows in an order of the seed's, over and over.
class source {
 public:
  source(samples rows, std::uint64_t seed) : rows_(std::move(rows)) {
    std::mt19937_64 draw(seed);
    for (std::size_t i = rows_.size(); i > 1; --i) std::swap(rows_[i - 1], rows_[draw() % i]);
  }
  /// The next whole samples, as many as fit.
  samples take(std::uint32_t tokens_max) {
    samples some;
    for (std::size_t size = 0;; next_ = (next_ + 1) % rows_.size()) {
      size += rows_[next_].tokens.size();
      if (size > tokens_max) return some;
      some.push_back(rows_[next_]);
    }
  }

 private:
  samples rows_;
  std::size_t next_ = 0;
};

/// One shadow, what it has been trained on and how long.
class learner {
 public:
  learner(const engine::base_ptr& b, const engine::adapter_ptr& first,
          const engine::training_options& o)
      : shadow_(must(engine::make_trainer(b, first, o))) {}

  void step(samples batch) {
    const auto started = thread_seconds();
    must(shadow_->begin_batch(std::move(batch)));
    for (;;)
      if (const auto unit = must(shadow_->run()); unit.batch) {
        tokens += unit.batch->tokens;
        round_tokens += unit.batch->tokens;
        losses.push_back(unit.batch->loss);
        break;
      }
    seconds += thread_seconds() - started;
  }

  /// `version`: null for the shadow as it stands.
  json score(const samples& rows, const engine::adapter_ptr& version) {
    must(shadow_->begin_evaluation(rows, version));
    for (;;)
      if (const auto unit = must(shadow_->run()); unit.scores) {
        double loss = 0, count = 0, exact = 0;
        for (const auto& s : *unit.scores) {
          loss += s.cross_entropy * s.completion_tokens;
          count += s.completion_tokens;
          exact += s.exact;
        }
        return {{"loss", loss / count}, {"tokens", count}, {"rows", rows.size()}, {"exact", exact}};
      }
  }

  engine::trainer& shadow() { return *shadow_; }
  std::uint64_t tokens = 0;
  std::int64_t round_tokens = 0;
  double seconds = 0;
  std::vector<double> losses;  ///< of the batches

 private:
  std::unique_ptr<engine::trainer> shadow_;
};

class study {
 public:
  study(char** words, const key_values& set)
      : set_(set),
        arm_(set.text("arm")),
        pooled_(arm_ == "pooled" || arm_ == "pooled_one"),
        merged_(!pooled_ && arm_ != "alone" && arm_ != "base"),
        base_(must(engine::open_base(words[1], precision_of(set), words[2]))),
        first_(must(engine::initial_adapter(*base_, set.number("rank"), set.real("alpha"),
                                            {"q", "k", "v", "o", "gate", "up", "down"},
                                            set.number("seed")))),
        rows_(encoder(*base_, set).read(words[3])),
        rounds_(first_, merged_ ? strategy_of(arm_) : federation::strategy{}, set.real("alpha")) {
    samples all;
    for (const auto& [name, c] : rows_) {
      if (arm_ == "pooled_one")
        all.insert(all.end(), c.train.begin(), c.train.end());
      else
        sources_.emplace_back(c.train, set.number("seed") * 1000 + sources_.size());
    }
    if (arm_ == "pooled_one") sources_.emplace_back(std::move(all), set.number("seed") * 1000);
    const auto options = options_of();
    for (std::size_t i = 0; i < (pooled_ || arm_ == "base" ? 1 : rows_.size()); ++i)
      learners_.push_back(std::make_unique<learner>(base_, first_, options));
  }

  void run() {
    std::uint32_t step = 0;
    const auto length = set_.number("round");
    if (merged_) rounds_.begin(shadows());
    for (const auto glance : glances()) {
      while (step < glance) {
        train();
        if (++step % length == 0 && merged_) merge();
      }
      if (merged_ && step % length != 0) stop("glances must be at the ends of rounds");
      report(step);
    }
  }

 private:
  std::vector<std::uint32_t> glances() const {
    if (arm_ == "base") return {0};
    std::vector<std::uint32_t> all;
    std::istringstream words(set_.text("glances"));
    for (std::string word; std::getline(words, word, ',');)
      all.push_back(static_cast<std::uint32_t>(std::strtoul(word.c_str(), nullptr, 10)));
    if (all.empty() || all.front() == 0 || !std::is_sorted(all.begin(), all.end()))
      stop("glances=" + set_.text("glances") + ": must be rising steps");
    return all;
  }

  engine::training_options options_of() const {
    engine::training_options o;
    o.learning_rate = set_.real("rate");
    o.warmup_steps = set_.number("warmup");
    o.sample_tokens = set_.number("sample");
    o.batch_tokens =
        set_.number("tokens") * (arm_ == "pooled" ? static_cast<std::uint32_t>(rows_.size()) : 1);
    if (set_.number("completion") >= o.sample_tokens || o.sample_tokens > set_.number("tokens"))
      stop("must be: completion < sample <= tokens");
    return o;
  }

  void train() {
    const auto tokens = set_.number("tokens");
    if (pooled_) {
      samples batch;
      for (auto& s : sources_)
        for (auto& one : s.take(tokens)) batch.push_back(std::move(one));
      learners_[0]->step(std::move(batch));
      return;
    }
    for (std::size_t i = 0; i < learners_.size(); ++i) learners_[i]->step(sources_[i].take(tokens));
  }

  void merge() {
    update_bytes_ += rounds_.update_bytes();
    std::vector<merging::client> work;
    double slowest = 0;
    for (std::size_t i = 0; i < learners_.size(); ++i) {
      auto& l = *learners_[i];
      work.push_back({&l.shadow(), std::exchange(l.round_tokens, 0)});
      slowest = std::max(slowest, l.seconds);
      spent_ += l.seconds;
      l.seconds = 0;
    }
    const auto started = thread_seconds();
    error_ = rounds_.merge(work);
    rounds_.begin(shadows());
    merge_seconds_ += thread_seconds() - started;
    waited_ += slowest;
  }

  std::vector<engine::trainer*> shadows() {
    std::vector<engine::trainer*> all;
    for (auto& l : learners_) all.push_back(&l->shadow());
    return all;
  }

  /// Seconds that a client has waited for what it has: its own steps; in rounds, everybody's
  /// slowest and the merges.
  double waited() const {
    if (merged_) return waited_ + merge_seconds_;
    double all = 0;
    for (const auto& l : learners_) all += l->seconds;
    return all / static_cast<double>(learners_.size());
  }

  void report(std::uint32_t step) {
    json clients;
    std::size_t i = 0;
    for (const auto& [name, c] : rows_) {
      auto& judge = *learners_[learners_.size() == rows_.size() ? i : 0];
      clients[name] = judge.score(c.held_out, merged_ ? rounds_.parent() : nullptr);
      clients[name]["train_rows"] = c.train.size();
      clients[name]["too_long"] = c.too_long;
      ++i;
    }
    double spent = spent_, tokens = 0;
    for (const auto& l : learners_) {
      spent += l->seconds;
      tokens += static_cast<double>(l->tokens);
    }
    json line{{"arm", arm_},         {"seed", set_.number("seed")},      {"step", step},
              {"seconds", waited()}, {"training_seconds_of_all", spent}, {"tokens_of_all", tokens}};
    if (merged_) {
      line["merge_seconds"] = merge_seconds_;
      line["update_bytes_per_client"] = update_bytes_;
      line["aggregation_error"] = error_;
    }
    if (pooled_) line["batch_losses"] = learners_[0]->losses;
    line["clients"] = clients;
    std::printf("%s\n", line.dump().c_str());
    std::fflush(stdout);
  }

  const key_values& set_;
  std::string arm_;
  bool pooled_, merged_;
  engine::base_ptr base_;
  engine::adapter_ptr first_;
  std::map<std::string, client_rows> rows_;
  merging rounds_;
  std::vector<source> sources_;
  std::vector<std::unique_ptr<learner>> learners_;
  double waited_ = 0, spent_ = 0, merge_seconds_ = 0, error_ = -1;
  std::uint64_t update_bytes_ = 0;
};

}  // namespace
}  // namespace collm::bench

int main(int count, char** words) {
  if (count < 4) {
    std::fprintf(stderr, "usage: natural_clients_bench MODEL CACHE_DIR FILE [key=value …]\n");
    return 2;
  }
  const auto set = collm::bench::settings_of(count - 4, words + 4);
  collm::bench::study(words, set).run();
  return 0;
}
