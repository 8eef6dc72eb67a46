// `collm bench co-run`: training beside requests in one engine.
#include <cstdio>
#include <memory>
#include <ostream>

#include "cli/verbs.hpp"
#include "deploy/co_run.hpp"
#include "deploy/plan.hpp"

namespace collm::cli {
namespace {

std::string shown(double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

json to_json(const deploy::co_run_side& s) {
  return {{"requests", s.requests},       {"good", s.good},
          {"refused", s.refused},         {"attainment", s.attainment()},
          {"ttft_ms_p50", s.ttft_ms_p50}, {"tpot_ms_p50", s.tpot_ms_p50},
          {"tpot_ms_p95", s.tpot_ms_p95}};
}

json to_json(const std::vector<deploy::capacity_trial>& trials) {
  auto out = json::array();
  for (const auto& t : trials)
    out.push_back({{"per_s", t.per_s}, {"requests", t.requests}, {"attainment", t.attainment}});
  return out;
}

json to_json(const deploy::co_run_options& o, const deploy::co_run& r) {
  return {{"model", o.model.filename().string()},
          {"kernel_path", engine::kernel_path()},
          {"threads", o.threads},
          {"slo", {{"ttft_ms", o.ttft_ms}, {"tpot_ms", r.tpot_slo_ms}}},
          {"unloaded_tpot_ms", r.unloaded_tpot_ms},
          {"load",
           {{"prompt_tokens", o.prompt_tokens},
            {"answer_tokens", o.answer_tokens},
            {"capacity_per_s", r.capacity.per_s},
            {"capacity_trials", to_json(r.capacity.trials)},
            {"rate_per_s", r.rate_per_s},
            {"parts", 2 * o.pairs},
            {"minutes", o.minutes},
            {"part_seconds", r.part_seconds}}},
          {"training_off", to_json(r.off)},
          {"training_on", to_json(r.on)},
          {"attainment_points_lost", r.points_lost()},
          {"attainment_points_error", r.points_error()},
          {"training_tokens_per_s",
           {{"alone", r.alone_tokens_per_s},
            {"idle_time_allows", r.allowed_tokens_per_s()},
            {"beside_requests", r.beside_tokens_per_s}}},
          {"ratio", r.ratio()},
          {"idle_share", r.idle_share},
          {"unit_share", r.unit_share},
          {"longest_unit_bound_ms", r.longest_unit_ms},
          {"units",
           {{"window_tokens", r.units.window_tokens},
            {"head_tokens", r.units.head_tokens},
            {"run", r.units_run},
            {"above_max", r.units_long}}},
          {"stopped", {{"time", r.no_time}, {"credit", r.no_credit}, {"request", r.yields}}}};
}

std::vector<std::string> row_of(const std::string& what, const deploy::co_run_side& s) {
  return {what,
          std::to_string(s.requests),
          std::to_string(s.refused),
          shown(100 * s.attainment(), 1) + " %",
          shown(s.ttft_ms_p50, 1),
          shown(s.tpot_ms_p50, 2),
          shown(s.tpot_ms_p95, 2)};
}

std::string to_text(const deploy::co_run_options& o, const deploy::co_run& r) {
  return o.model.filename().string() + ", int8, " + engine::kernel_path() + ", " +
         std::to_string(o.threads) + " engine threads\n" + "a token every " +
         shown(r.unloaded_tpot_ms, 2) + " ms alone, promised every " + shown(r.tpot_slo_ms, 2) +
         " ms; first token within " + shown(o.ttft_ms, 0) + " ms\n" + "capacity " +
         shown(r.capacity.per_s, 2) + " requests/s, load " + shown(r.rate_per_s, 2) +
         " requests/s\n" +
         table({{"training", "requests", "refused", "attainment", "TTFT ms", "TPOT ms", "p95"},
                row_of("off", r.off),
                row_of("on", r.on)}) +
         "lost by training: " + shown(r.points_lost(), 1) +
         " points of attainment, standard error " + shown(r.points_error(), 1) + "\n" +
         "training tokens/s: " + shown(r.alone_tokens_per_s, 0) + " alone; idle time (" +
         shown(100 * r.idle_share, 0) + " %) would allow " + shown(r.allowed_tokens_per_s(), 0) +
         "; beside requests " + shown(r.beside_tokens_per_s, 0) + ", " + shown(100 * r.ratio(), 0) +
         " % of it\n";
}

int bench_co_run(console& io, deploy::co_run_options o, const std::string& model) {
  const auto on = deploy::machine::here();
  o.cache_dir = on.cache_dir / "bases";
  o.model = model.empty() ? on.cache_dir / "models" / "smollm2-135m-instruct.gguf"
                          : std::filesystem::path(model);
  const auto found = deploy::run_co_run(o);
  if (!found) return io.fail(found.failure());
  if (io.wants_json())
    io.print(to_json(o, *found));
  else
    io.out() << to_text(o, *found);
  return success;
}

}  // namespace

void add_bench_co_run(program& p, CLI::App& group) {
  verb v(group, "co-run", "Training beside requests: promises kept, and training tokens/s");
  const auto o = std::make_shared<deploy::co_run_options>();
  const auto model = std::make_shared<std::string>();
  v.flag("--model", *model, "GGUF file; left out: SmolLM2 in the cache");
  v.flag("--threads", o->threads, "of the engine")
      ->check(CLI::Range(1u, 256u))
      ->capture_default_str();
  v.flag("--tpot-factor", o->tpot_factor, "promised time a token, over the median alone")
      ->check(CLI::Range(1.0, 100.0))
      ->capture_default_str();
  v.flag("--prompt", o->prompt_tokens, "mean tokens of a prompt")
      ->check(CLI::Range(4u, 512u))
      ->capture_default_str();
  v.flag("--answer", o->answer_tokens, "mean tokens of an answer")
      ->check(CLI::Range(4u, 512u))
      ->capture_default_str();
  v.flag("--share", o->share, "of time that training may take")
      ->check(CLI::Range(0.01, 1.0))
      ->capture_default_str();
  v.flag("--pairs", o->pairs, "of parts with training off and on")
      ->check(CLI::Range(1u, 100u))
      ->capture_default_str();
  v.flag("--minutes", o->minutes, "of the whole; fewer than 12 decide nothing")
      ->check(CLI::Range(1.0, 600.0))
      ->capture_default_str();
  v.flag("--seed", o->seed, "of arrivals and lengths")->capture_default_str();
  v.runs(p.io, p.exit, [&io = p.io, o, model] { return bench_co_run(io, *o, *model); });
}

}  // namespace collm::cli
