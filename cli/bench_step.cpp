#include <cstdio>
#include <memory>
#include <ostream>

#include "cli/verbs.hpp"
#include "deploy/plan.hpp"
#include "deploy/step_times.hpp"

namespace collm::cli {
namespace {

struct bench_step_options {
  deploy::engine_bench_options engine;
  std::string model;
};

std::string shown(double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

json to_json(const bench_step_options& o, const std::vector<deploy::step_row>& rows) {
  json out = {{"model", o.engine.model.filename().string()},
              {"kernel_path", engine::kernel_path()},
              {"threads", o.engine.threads},
              {"context_tokens", o.engine.context_tokens},
              {"rows", json::array()}};
  for (const auto& r : rows) {
    json phases;
    for (std::size_t p = 0; p < r.phases.size(); ++p) phases[engine::phase_names[p]] = r.phases[p];
    out["rows"].push_back({{"name", r.name},
                           {"sequences", r.sequences},
                           {"rows", r.rows},
                           {"adapters", r.adapters},
                           {"steps", r.steps},
                           {"microseconds", r.microseconds},
                           {"microseconds_without_clock", r.clockless_microseconds},
                           {"unseen_microseconds", r.unseen()},
                           {"phases_microseconds", std::move(phases)}});
  }
  return out;
}

std::string cell(double microseconds, double of) {
  return shown(microseconds, 1) + " (" + shown(of > 0 ? 100 * microseconds / of : 0, 1) + " %)";
}

std::string to_text(const bench_step_options& o, const std::vector<deploy::step_row>& rows) {
  std::vector<std::vector<std::string>> lines(1, {"microseconds a step"});
  for (const auto& r : rows) lines[0].push_back(r.name);
  for (std::size_t p = 0; p < engine::phases_count; ++p) {
    lines.push_back({engine::phase_names[p]});
    for (const auto& r : rows) lines.back().push_back(cell(r.phases[p], r.microseconds));
  }
  lines.push_back({"unseen"});
  for (const auto& r : rows) lines.back().push_back(cell(r.unseen(), r.microseconds));
  lines.push_back({"whole step"});
  for (const auto& r : rows) lines.back().push_back(shown(r.microseconds, 1));
  lines.push_back({"without the clock"});
  for (const auto& r : rows) lines.back().push_back(shown(r.clockless_microseconds, 1));
  return o.engine.model.filename().string() + ", int8, " + engine::kernel_path() + ", " +
         std::to_string(o.engine.threads) + " threads, context " +
         std::to_string(o.engine.context_tokens) + "\n" + table(lines);
}

int bench_step(console& io, bench_step_options o) {
  const auto on = deploy::machine::here();
  o.engine.cache_dir = on.cache_dir / "bases";
  o.engine.model = o.model.empty() ? on.cache_dir / "models" / "smollm2-135m-instruct.gguf"
                                   : std::filesystem::path(o.model);
  const auto rows = deploy::run_step_times(o.engine);
  if (!rows) return io.fail(rows.failure());
  if (io.wants_json())
    io.print(to_json(o, *rows));
  else
    io.out() << to_text(o, *rows);
  return success;
}

}  // namespace

void add_bench_step(program& p, CLI::App& group) {
  verb v(group, "step", "Where each microsecond of an engine step goes");
  const auto o = std::make_shared<bench_step_options>();
  o->engine.decode = {1, 32};
  o->engine.adapters = 8;
  v.flag("--model", o->model, "GGUF file; left out: SmolLM2 in the cache");
  v.flag("--threads", o->engine.threads, "of the engine")
      ->check(CLI::Range(1u, 256u))
      ->capture_default_str();
  v.flag("--decode", o->engine.decode, "sequences at once: 1,16,32")
      ->delimiter(',')
      ->capture_default_str();
  v.flag("--prefill", o->engine.prefill_tokens, "tokens of the prompt, at most 512")
      ->capture_default_str();
  v.flag("--context", o->engine.context_tokens, "tokens before decoding")->capture_default_str();
  v.flag("--steps", o->engine.steps, "of each decoding row; the first warms up")
      ->capture_default_str();
  v.flag("--runs", o->engine.runs, "of the prefill row, after one to warm up")
      ->check(CLI::Range(1u, 100u))
      ->capture_default_str();
  v.flag("--adapters", o->engine.adapters, "of the last rows; 0: none")
      ->check(CLI::Range(0u, 64u))
      ->capture_default_str();
  v.runs(p.io, p.exit, [&io = p.io, o] { return bench_step(io, *o); });
}

}  // namespace collm::cli
