// A production adapter shadow over a real site store on virtual time; its engine, its node and the
// aggregator at the other end are modelled.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "actors/shadow.hpp"
#include "actors/site_data.hpp"
#include "actors/telemetry.hpp"
#include "engine/adapter/adapter.hpp"
#include "store/site_data.hpp"
#include "tests/support/modelled_telemetry.hpp"
#include "tests/support/virtual_system.hpp"

namespace collm::testing_support {

/// One pair of factors, A [1, 2] and B [2, 1]. A batch adds its number of samples to every trained
/// number, so an update tells which samples it saw.
class counting_trainer final : public engine::trainer {
 public:
  std::vector<float> values = {1, 2, 0, 0};
  std::uint64_t batches = 0;
  float moments = 0;  ///< steps that they have seen; a checkpoint's last number
  bool fails = false;

  result<void> begin_batch(std::vector<engine::training_sample> samples) override {
    if (fails) return error{errc::bad_request, "the loss is no finite number"};
    batch_ = std::move(samples);
    return {};
  }
  result<void> begin_evaluation(std::vector<engine::training_sample> samples,
                                engine::adapter_ptr version) override {
    scored_ = std::move(version);
    batch_ = std::move(samples);
    return {};
  }
  void abandon() override { batch_.clear(); }
  std::optional<engine::training_unit> next() const override {
    if (batch_.empty()) return {};
    return engine::training_unit{engine::unit_kind::layer_forward, 16};
  }
  result<engine::unit_report> run() override {
    engine::unit_report out;
    if (scored_) {
      // A version's cross entropy is its digest's length, less for longer questions.
      out.scores.emplace();
      for (const auto& s : batch_)
        out.scores->push_back({static_cast<double>(scored_->digest.size()) -
                                   0.01 * static_cast<double>(s.tokens.size()),
                               1, false});
      scored_ = nullptr;
    } else {
      engine::batch_report b{.step = ++batches, .loss = 1.5};
      for (const auto& s : batch_) b.tokens += static_cast<std::uint32_t>(s.tokens.size());
      b.samples = static_cast<std::uint32_t>(batch_.size());
      for (std::size_t i = 0; i < values.size(); ++i)
        if (trains(i >= 2)) values[i] += static_cast<float>(batch_.size());
      ++moments;
      out.batch = b;
    }
    batch_.clear();
    return out;
  }
  std::vector<engine::factor> factors() const override {
    return {{"A", 1, 2, false, std::span(values).first(2)},
            {"B", 2, 1, true, std::span(values).last(2)}};
  }
  engine::adapter_ptr snapshot() const override { return std::make_shared<engine::adapter>(); }
  result<void> rebase(engine::adapter_ptr, engine::trained_factors which) override {
    values = {1, 2, 0, 0};
    which_ = which;
    return {};
  }
  result<std::vector<std::uint8_t>> checkpoint() const override {
    auto numbers = values;
    numbers.push_back(moments);
    std::vector<std::uint8_t> out(numbers.size() * sizeof(float));
    std::memcpy(out.data(), numbers.data(), out.size());
    return out;
  }
  result<void> resume(std::span<const std::uint8_t> c) override {
    if (auto taken = take_moments(c); !taken) return taken;
    std::memcpy(values.data(), c.data(), values.size() * sizeof(float));
    return {};
  }
  result<void> take_moments(std::span<const std::uint8_t> c) override {
    const auto bytes = values.size() * sizeof(float);
    if (c.size() != bytes + sizeof moments) return error{errc::conflict, "another shape"};
    std::memcpy(&moments, c.data() + bytes, sizeof moments);
    return {};
  }
  std::uint64_t steps() const override { return batches; }
  engine::training_memory declared() const override { return {}; }
  engine::training_memory used() const override { return {}; }

 private:
  bool trains(bool b) const {
    return which_ == engine::trained_factors::both ||
           b == (which_ == engine::trained_factors::b_only);
  }
  std::vector<engine::training_sample> batch_;
  engine::adapter_ptr scored_;
  engine::trained_factors which_ = engine::trained_factors::both;
};

/// The other end of the link, as a test scripts it.
struct modelled_aggregator {
  std::optional<msg<schema::Work>> work;  ///< none: nothing to do
  bool away = false;
  std::vector<msg<schema::ShadowState>> states;
  std::string uploaded;
  std::vector<msg<schema::UpdateHeader>> accepted;
  std::vector<msg<schema::Scores>> scores;
};

class shadow_rig {
 public:
  explicit shadow_rig(std::filesystem::path folder, std::uint32_t rows = 40)
      : folder_(std::move(folder)) {
    using namespace actors;
    data = std::move(*store::site_data::open(folder_ / "data.db"));
    std::string text;
    for (std::uint32_t i = 0; i < rows; ++i)
      text += R"({"prompt": "question )" + std::to_string(i) +
              R"(", "completion": "answer"})"
              "\n";
    (void)*data->import_text("rows", text);
    telemetry = system.keep(system.get().spawn(
        telemetry_behavior,
        modelled_telemetry("edge-a", "kitchen", board, board->make("telemetry", ""))));
    site = system.keep(system.get().spawn(site_data_behavior,
                                          site_data_deps{.data = data,
                                                         .node = "edge-a",
                                                         .telemetry = telemetry,
                                                         .counts = board->make("site_data", "")}));
    replica = system.keep(system.get().spawn([this](replica_actor::pointer) { return engine(); }));
    node = system.keep(
        system.get().spawn([this](local_node_actor::pointer) { return fetching_node(); }));
    aggregator =
        system.keep(system.get().spawn([this](aggregator_actor::pointer) { return head_end(); }));
    start();
  }

  /// Another process of the same replica: nothing but the files is left.
  void restart() {
    caf::anon_send_exit(caf::actor_cast<caf::actor>(shadow), caf::exit_reason::kill);
    system.settle();
    start();
  }

  void start() {
    using namespace actors;
    shadow_deps deps{.replica = "edge-a/0",
                     .site = "kitchen",
                     .adapter = "assistant",
                     .base_digest = "base",
                     .engine = replica,
                     .aggregator = aggregator,
                     .data = site,
                     .node = node,
                     .router = {},
                     .telemetry = telemetry,
                     .make_trainer =
                         [this](const engine::adapter_ptr&) {
                           trainer = std::make_shared<counting_trainer>();
                           trainer->fails = fails;
                           return result<std::shared_ptr<engine::trainer>>(trainer);
                         },
                     .encode =
                         [this](const store::site_row& row) {
                           if (too_long && too_long(row))
                             return result<engine::training_sample>(
                                 error{errc::too_large, "has too many tokens"});
                           engine::training_sample s;
                           s.tokens.assign(row.prompt.size(), 1);
                           return result<engine::training_sample>(s);
                         },
                     .guard = {{{1, 2, 3}, 1}, {{1, 2, 3, 4}, 1}},
                     .checkpoints = std::make_shared<store::checkpoint_store>(folder_ / "saved"),
                     .batch_tokens = 36,
                     .own_rank = own_rank,
                     .counts = board->make("adapter_shadow", "")};
    shadow = system.keep(system.get().spawn(shadow_behavior, std::move(deps)));
  }

  void ask_to_train(std::uint32_t round, std::uint32_t steps,
                    schema::TrainedFactors which = schema::TrainedFactors::BOTH,
                    bool late_counts = false) {
    head.work = msg<schema::Work>::build([&](schema::Work::Builder b) {
      auto t = b.initTrain();
      t.setAdapter("assistant");
      t.setRound(round);
      t.setParentDigest("parent");
      t.setTrained(which);
      t.setSteps(steps);
      t.setLateCounts(late_counts);
    });
  }
  void ask_to_evaluate(std::uint32_t from, std::uint32_t count, std::uint32_t guard,
                       bool reference = false) {
    head.work = msg<schema::Work>::build([&](schema::Work::Builder b) {
      auto e = b.initEvaluate();
      e.setAdapter("assistant");
      e.setRound(1);
      e.setCandidate(1);
      e.setCandidateDigest("better");
      e.setServingDigest("serving");
      e.setFrom(from);
      e.setCount(count);
      e.setGuardCount(guard);
      e.setReference(reference);
    });
  }
  std::vector<float> update() const {
    std::vector<float> out(head.uploaded.size() / sizeof(float));
    std::memcpy(out.data(), head.uploaded.data(), out.size() * sizeof(float));
    return out;
  }

  virtual_system system;
  actors::meter_board_ptr board = std::make_shared<actors::meter_board>();
  std::shared_ptr<store::site_data> data;
  modelled_aggregator head;
  std::shared_ptr<counting_trainer> trainer;  ///< the newest one
  bool fails = false, own_rank = false;
  std::function<bool(const store::site_row&)> too_long;  ///< for the model
  std::function<void()> before_job;                      ///< called as each job reaches the engine
  std::uint32_t jobs = 0;
  std::vector<double> grants;
  std::optional<error> fetch_failure, job_failure;
  actors::telemetry_actor telemetry;
  actors::site_data_actor site;
  actors::replica_actor replica;
  actors::local_node_actor node;
  actors::aggregator_actor aggregator;
  actors::shadow_actor shadow;

 private:
  static msg<schema::ActorStatus> no_status() {
    return msg<schema::ActorStatus>::build([](schema::ActorStatus::Builder) {});
  }

  actors::replica_actor::behavior_type engine() {
    using namespace actors;
    return {[](const msg<schema::Request>&, const version_id&, const sink_actor&) {},
            [](cancel_atom, request_id, const sink_actor&) {},
            [](done_atom, request_id, const sink_actor&) {},
            [](const replica_report_ptr&) {},
            [](load_atom, const version_id&, const engine::adapter_ptr&) {
              return make_reply<void>(result<void>());
            },
            [](unload_atom, const version_id&) { return make_reply<void>(result<void>()); },
            [this](train_atom, const training_job_ptr& job) { return run(*job); },
            [this](grant_atom, double share, bool) { grants.push_back(share); },
            [](drain_atom, const std::string&) {},
            [](status_atom) { return no_status(); }};
  }

  actors::reply<engine::unit_report> run(const actors::training_job& job) {
    ++jobs;
    if (before_job) before_job();
    if (job_failure) return actors::make_reply<engine::unit_report>(*job_failure);
    if (auto begun = job.begin(*job.on); !begun)
      return actors::make_reply<engine::unit_report>(begun.failure());
    result<engine::unit_report> last{engine::unit_report{}};
    while (last && job.on->next()) last = job.on->run();
    return actors::make_reply<engine::unit_report>(std::move(last));
  }

  actors::local_node_actor::behavior_type fetching_node() {
    using namespace actors;
    const auto none = [] {
      return make_reply<msg<schema::VersionRecord>>(error{errc::not_found, "modelled"});
    };
    return {[none](load_atom, const std::string&, const std::string&) { return none(); },
            [](unload_atom, const version_id&) { return make_reply<void>(result<void>()); },
            [](drain_atom, std::uint32_t) { return make_reply<void>(result<void>()); },
            [](slot_atom) {},
            [](status_atom) { return no_status(); },
            [none](unload_atom, const std::string&) { return none(); },
            [this](fetch_atom, const version_id&, const std::string& digest) {
              if (fetch_failure) return make_reply<engine::adapter_ptr>(*fetch_failure);
              auto a = std::make_shared<engine::adapter>();
              a->digest = digest;
              return make_reply<engine::adapter_ptr>(engine::adapter_ptr(a));
            },
            [](drain_atom) {}};
  }

  actors::aggregator_actor::behavior_type head_end() {
    using namespace actors;
    const error away{errc::unavailable, "the link is down"};
    return {[this, away](const msg<schema::ShadowState>& s) {
              if (head.away) return make_reply<msg<schema::Work>>(away);
              head.states.push_back(s);
              return make_reply<msg<schema::Work>>(
                  head.work ? *head.work : msg<schema::Work>::build([](schema::Work::Builder b) {
                    b.setNone();
                  }));
            },
            [this, away](const msg<schema::UpdateChunk>& c) {
              if (head.away) return make_reply<msg<schema::UploadPlace>>(away);
              return make_reply<msg<schema::UploadPlace>>(take(c));
            },
            [this, away](const msg<schema::Scores>& s) {
              if (head.away) return make_reply<void>(away);
              head.scores.push_back(s);
              head.work.reset();
              return make_reply<void>(result<void>());
            },
            [](const msg<schema::FactorsWanted>&) {
              return make_reply<msg<schema::FactorsChunk>>(error{errc::not_found, "modelled"});
            },
            [](status_atom) { return no_status(); }};
  }

  msg<schema::UploadPlace> take(const msg<schema::UpdateChunk>& chunk) {
    const auto c = chunk.read();
    const auto data = c->getData();
    if (c->getAt() == head.uploaded.size())
      head.uploaded.append(reinterpret_cast<const char*>(data.begin()), data.size());
    const bool whole = head.uploaded.size() == c->getHeader().getValues() * sizeof(float);
    if (whole) head.accepted.push_back(msg<schema::UpdateHeader>::copy_of(c->getHeader()));
    return msg<schema::UploadPlace>::build([&](schema::UploadPlace::Builder b) {
      b.setNext(head.uploaded.size());
      b.setAccepted(whole);
    });
  }

  std::filesystem::path folder_;
};

}  // namespace collm::testing_support
