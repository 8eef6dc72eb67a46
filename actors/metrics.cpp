#include "actors/metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <map>
#include <set>
#include <utility>

namespace collm::actors {

namespace {

using prometheus::Histogram;
using prometheus::Labels;
using buckets = Histogram::BucketBoundaries;

// Bounds of vLLM's families, seconds, so that its users' boards and alerts keep their meaning.
const buckets ttft_bounds = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                             1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
const buckets itl_bounds = {.01, .025, .05, .075, .1,  .15, .2, .3, .4, .5,
                            .75, 1,    2.5, 5,    7.5, 10,  20, 40, 80};
const buckets latency_bounds = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
const buckets token_bounds = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000};
const buckets iteration_bounds = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048};

struct counted {
  double last = 0;
  double rise(
      double now) {  // counters since start become increments; a restarted engine starts again
    const double d = now >= last ? now - last : now;
    last = now;
    return d;
  }
};

}  // namespace

struct metrics::impl {
  std::string model;
  std::size_t adapters_max;
  prometheus::Registry registry;
  std::set<std::string> adapters;
  std::map<std::string, counted> since_start;
  std::map<std::string, std::set<std::string>> resident;  ///< adapters by replica

  Labels labels(Labels more = {}) const {
    more["model_name"] = model;
    return more;
  }
  std::string adapter_label(const std::string& name) {
    if (adapters.contains(name)) return name;
    if (adapters.size() >= adapters_max) return "other";
    adapters.insert(name);
    return name;
  }
  prometheus::Counter& counter(const char* name, const char* help, const Labels& l) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(l);
  }
  prometheus::Gauge& gauge(const char* name, const char* help, const Labels& l) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add(l);
  }
  Histogram& histogram(const char* name, const char* help, const Labels& l, const buckets& b) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(l, b);
  }
};

metrics::metrics(std::string model, std::size_t adapters_max) : impl_(std::make_unique<impl>()) {
  impl_->model = std::move(model);
  impl_->adapters_max = adapters_max;
}
metrics::~metrics() = default;

void metrics::observe(const request_outcome& o, double ttft_slo_ms, double tpot_slo_ms) {
  auto& m = *impl_;
  const auto adapter = m.adapter_label(o.adapter.empty() ? "base" : o.adapter);
  const auto l = m.labels({{"adapter", adapter}});
  auto with = [&](const char* key, const std::string& value) {
    auto copy = l;
    copy[key] = value;
    return copy;
  };
  using kind = request_outcome::kind;
  if (o.how == kind::refused) {
    m.counter("collm_admission_rejected_total", "Requests refused before anything was computed.",
              m.labels({{"reason", o.reason},
                        {"tenant_class", o.interactive ? "interactive" : "batch"}}))
        .Increment();
    return;
  }
  m.counter("collm_request_success_total", "Finished requests by reason.",
            with("finished_reason", o.reason))
      .Increment();
  m.counter("collm_prompt_tokens_total", "Prompt tokens of finished requests.", l)
      .Increment(o.prompt_tokens);
  m.counter("collm_generation_tokens_total", "Tokens produced.", l).Increment(o.completion_tokens);
  m.histogram("collm_request_prompt_tokens", "Prompt tokens a request.", l, token_bounds)
      .Observe(o.prompt_tokens);
  m.histogram("collm_request_generation_tokens", "Tokens produced a request.", l, token_bounds)
      .Observe(o.completion_tokens);
  m.histogram("collm_request_params_max_tokens", "max_tokens asked for.", l, token_bounds)
      .Observe(o.max_tokens);
  m.histogram("collm_request_params_n", "n asked for.", l, {1, 2, 5, 10, 20}).Observe(o.choices);
  if (o.completion_tokens == 0) return;
  const auto seconds = [&](const char* name, const char* help, double ms, const buckets& b) {
    m.histogram(name, help, l, b).Observe(ms / 1000);
  };
  seconds("collm_time_to_first_token_seconds", "From arrival at the gateway to the first token.",
          o.ttft_ms, ttft_bounds);
  seconds("collm_e2e_request_latency_seconds", "From arrival at the gateway to the last token.",
          o.e2e_ms, latency_bounds);
  seconds("collm_request_queue_time_seconds", "Admission to first scheduled.", o.queue_ms,
          latency_bounds);
  seconds("collm_request_prefill_time_seconds", "First scheduled to first token.", o.prefill_ms,
          latency_bounds);
  seconds("collm_request_decode_time_seconds", "First to last token.", o.decode_ms, latency_bounds);
  seconds("collm_request_inference_time_seconds", "Scheduled to last token.",
          o.prefill_ms + o.decode_ms, latency_bounds);
  if (o.tpot_ms > 0) {
    seconds("collm_request_time_per_output_token_seconds", "Mean gap between tokens of a request.",
            o.tpot_ms, itl_bounds);
  }
  for (float gap : o.itl_ms) {
    seconds("collm_inter_token_latency_seconds", "Each gap between token chunks.", gap, itl_bounds);
  }
  const auto violated = [&](const char* slo) {
    m.counter("collm_slo_violations_total", "Answers that broke a promise.", with("slo", slo))
        .Increment();
  };
  if (o.ttft_ms > ttft_slo_ms) violated("ttft");
  if (o.tpot_ms > tpot_slo_ms) violated("tpot");
}

void metrics::observe(const replica_report& r) {
  auto& m = *impl_;
  const auto l = m.labels({{"engine", r.replica}});
  const auto raise = [&](const char* name, const char* help, double now) {
    m.counter(name, help, l).Increment(m.since_start[r.replica + name].rise(now));
  };
  m.gauge("collm_num_requests_waiting", "Requests queued.", l).Set(r.queued);
  m.gauge("collm_num_requests_running", "Requests in execution.", l).Set(r.running);
  const double used = r.kv_total == 0 ? 0 : 1.0 - static_cast<double>(r.kv_free) / r.kv_total;
  m.gauge("collm_kv_cache_usage_perc", "Share of KV blocks in use, 0 to 1.", l).Set(used);
  raise("collm_num_preemptions_total", "Sequences evicted to be computed again.", r.preemptions);
  raise("collm_prefix_cache_queries_total", "Prompt tokens looked up.",
        static_cast<double>(r.prefix_queries));
  raise("collm_prefix_cache_hits_total", "Prompt tokens found.",
        static_cast<double>(r.prefix_hits));
  observe_training(r);
  auto& rows =
      m.histogram("collm_iteration_tokens_total", "Rows of a serving step.", l, iteration_bounds);
  for (auto n : r.iteration_tokens) rows.Observe(n);
  auto& resident = prometheus::BuildGauge()
                       .Name("collm_adapter_resident")
                       .Help("Newest version number in memory, by replica; no series: not there.")
                       .Register(m.registry);
  const auto series = [&](const std::string& adapter) -> prometheus::Gauge& {
    return resident.Add(
        m.labels({{"adapter", adapter}, {"tier", "memory"}, {"engine", r.replica}}));
  };
  std::set<std::string> here;
  for (const auto& v : r.versions) {
    series(*here.insert(m.adapter_label(v.id.name)).first).Set(v.id.number);
  }
  for (const auto& gone : std::exchange(m.resident[r.replica], here)) {
    if (!here.contains(gone)) resident.Remove(&series(gone));
  }
}

void metrics::observe_training(const replica_report& r) {
  auto& m = *impl_;
  const auto& t = r.training;
  if (t.turns == 0 && t.share <= 0) return;  // an engine that never trained has no series
  const auto l = m.labels({{"engine", r.replica}});
  const auto set = [&](const char* name, const char* help, double value) {
    m.gauge(name, help, l).Set(value);
  };
  const auto raise = [&](const char* name, const char* help, double now, const Labels& with) {
    const auto key = r.replica + name + (with.contains("why") ? with.at("why") : "");
    m.counter(name, help, with).Increment(m.since_start[key].rise(now));
  };
  set("collm_training_share", "Share of time that training may take, 0 to 1.", t.share);
  set("collm_training_slack_share", "Part of a step's slack that units may fill.", t.budget_share);
  set("collm_training_credit_seconds", "Unit time saved; below 0: overdrawn.", t.credit_ms / 1000);
  set("collm_training_felt", "How much of a second of training a request feels.", t.felt);
  set("collm_training_jobs", "Training jobs that wait or run.", t.jobs);
  set("collm_training_tokens_per_second", "Over the last ten slots.", t.tokens_per_s);
  set("collm_training_unit_bound_seconds", "Longest bound of the slot's units.",
      t.longest_bound_ms / 1000);
  set("collm_training_window_tokens", "Rows of a layer's unit that fit maxUnit.", t.window_tokens);
  set("collm_training_head_tokens", "Rows of a loss head's unit that fit maxUnit.", t.head_tokens);
  const auto count = [](std::uint64_t n) { return static_cast<double>(n); };
  raise("collm_training_units_total", "Training units that ran.", count(t.units_total), l);
  raise("collm_training_unit_seconds_total", "Time spent in them.", t.unit_ms_total / 1000, l);
  raise("collm_training_tokens_total", "Tokens that reached an optimizer step.", count(t.tokens),
        l);
  raise("collm_training_failed_jobs_total", "Jobs that ended with an error.", count(t.failed_jobs),
        l);
  raise("collm_training_long_units_total", "Units whose bound was above maxUnit.",
        count(t.long_units), l);
  raise("collm_training_turns_total", "Turns in which a job waited.", count(t.turns), l);
  const auto stopped = [&](const char* why, std::uint64_t n) {
    auto with = l;
    with["why"] = why;
    raise("collm_training_stopped_total", "Turns that ended before the job did.", count(n), with);
  };
  stopped("time", t.no_time);
  stopped("credit", t.no_credit);
  stopped("request", t.yields);
}

void metrics::observe(const std::vector<meter_ptr>& meters) {
  auto& m = *impl_;
  for (const auto& meter : meters) {
    const auto type = Labels{{"actor_type", meter->name()}};
    const auto name =
        Labels{{"name", meter->name() + (meter->id().empty() ? "" : "/" + meter->id())}};
    const auto key = meter->name() + meter->id();
    m.gauge("caf_actor_mailbox_size", "Messages waiting.", name).Set(meter->mailbox());
    m.counter("caf_system_processed_messages", "Messages handled.", name)
        .Increment(m.since_start["p" + key].rise(static_cast<double>(meter->processed())));
    m.counter("collm_actor_failed_total", "Errors and exceptions that reached an actor.", type)
        .Increment(m.since_start["f" + key].rise(meter->failures()));
    m.counter("collm_actor_restarted_total", "Actors started again.", type)
        .Increment(m.since_start["r" + key].rise(meter->restarts()));
    auto dead = type;
    dead["message_type"] = "unexpected";
    m.counter("collm_actor_dead_letters_total", "Messages that an actor does not know.", dead)
        .Increment(m.since_start["d" + key].rise(meter->unexpected()));
  }
}

std::string metrics::text() const {
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace collm::actors
