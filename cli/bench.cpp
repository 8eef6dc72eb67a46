#include <cmath>
#include <fstream>
#include <ostream>

#include "bench/player.hpp"
#include "bench/serving_report.hpp"
#include "bench/workload_maker.hpp"
#include "cli/cluster_client.hpp"
#include "cli/play.hpp"
#include "cli/verbs.hpp"

namespace collm::cli {
namespace {

/// Flags and defaults of vLLM's `bench serve`, so that its users' command lines go on working.
struct serve_options {
  std::string backend = "openai-chat", base_url = "http://127.0.0.1:8081", model = "assistant",
              dataset = "demo";
  std::string dataset_path, site = "kitchen", save, key, ca, ramp = "none", assignment = "random";
  std::uint32_t prompts = 100, max_concurrency = 128, max_tokens = 64;
  double rate = INFINITY, burstiness = 1.0;
  std::uint64_t seed = 0;
  std::vector<std::string> goodput, modules;
  std::string metrics = "ttft,tpot,itl,e2el", percentiles = "50,99";
  bool ignore_eos = false, save_result = false;
};

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> out(1);
  for (char c : text) {
    if (c == at)
      out.emplace_back();
    else
      out.back() += c;
  }
  return out;
}

result<double> number_in(const std::string& text, const std::string& flag) {
  try {
    std::size_t used = 0;
    const double value = std::stod(text, &used);
    if (used == text.size() && std::isfinite(value) && value >= 0) return value;
  } catch (const std::exception&) {  // reported below with the flag's name
  }
  return error{errc::bad_request, flag + ": '" + text + "' is not a number"};
}

result<bench::report_options> report_options_of(const serve_options& o) {
  bench::report_options out;
  for (const auto& pair : o.goodput) {
    const auto parts = split(pair, ':');
    auto bound = parts.size() == 2 ? number_in(parts[1], "--goodput") : result<double>(error{});
    if (!bound)
      return error{errc::bad_request,
                   "--goodput takes ttft:MS, tpot:MS or e2el:MS, not '" + pair + "'"};
    if (parts[0] == "ttft")
      out.slo.ttft_ms = *bound;
    else if (parts[0] == "tpot")
      out.slo.tpot_ms = *bound;
    else if (parts[0] == "e2el")
      out.slo.e2el_ms = *bound;
    else
      return error{errc::bad_request,
                   "--goodput knows ttft, tpot and e2el, not '" + parts[0] + "'"};
  }
  out.metrics = split(o.metrics, ',');
  for (const auto& m : out.metrics) {
    if (m != "ttft" && m != "tpot" && m != "itl" && m != "e2el") {
      return error{errc::bad_request,
                   "--percentile-metrics knows ttft, tpot, itl and e2el, not '" + m + "'"};
    }
  }
  out.percentiles.clear();
  for (const auto& q : split(o.percentiles, ',')) {
    auto value = number_in(q, "--metric-percentiles");
    if (!value || *value > 100)
      return error{errc::bad_request, "--metric-percentiles takes 0 to 100, not '" + q + "'"};
    out.percentiles.push_back(*value);
  }
  return out;
}

result<std::vector<bench::text>> texts_of(const serve_options& o) {
  if (o.dataset == "demo") {
    const auto where = demo::site_named(o.site);
    if (!where)
      return error{errc::bad_request,
                   "--site is kitchen or workshop for the demo data set, not '" + o.site + "'"};
    return bench::demo_texts({*where}, demo::split::served, o.prompts, o.seed + 1);
  }
  if (o.dataset == "custom")
    return bench::read_texts_file(o.dataset_path, {o.site}, bench::scorer::none);
  return error{errc::bad_request,
               "--dataset-name is demo or custom (with --dataset-path), not '" + o.dataset + "'"};
}

result<bench::workload> workload_of(const serve_options& o) {
  auto texts = texts_of(o);
  if (!texts) return texts.failure();
  std::vector<bench::arrival> arrivals;
  if (std::isfinite(o.rate)) {
    arrivals = bench::arrivals_at_rate(bench::spacing::poisson, o.rate, o.prompts, o.seed);
  } else {
    arrivals.resize(o.prompts);  // all at once
  }
  bench::making how;
  how.seed = o.seed;
  how.adapter = o.model;
  how.max_tokens = o.max_tokens;
  how.arrivals_from = std::isfinite(o.rate) ? json(o.rate).dump() + " requests/s" : "all at once";
  how.texts_from = o.dataset;
  auto made = bench::make_workload(arrivals, *texts, how);
  if (!made) return made;
  for (std::size_t i = 0; i < made->requests.size() && !o.modules.empty(); ++i) {
    const auto pick = o.assignment == "round-robin" ? i : (i * 2654435761u + o.seed) >> 7;
    made->requests[i].adapter = o.modules[pick % o.modules.size()];
  }
  for (auto& r : made->requests) r.site = o.backend == "collm" ? r.site : "";
  return made;
}

int serve(console& io, const serve_options& o) {
  const auto how = report_options_of(o);
  if (!how) return io.fail(how.failure());
  const auto what = workload_of(o);
  if (!what) return io.fail(what.failure());
  bench::play_options options;
  options.gateways[""] = o.base_url;
  options.key = o.key;
  options.ca = o.ca;
  options.max_concurrency = o.max_concurrency;
  options.chat = o.backend != "openai";
  options.ignore_eos = o.ignore_eos;
  options.extensions = o.backend == "collm";
  const auto done = bench::play(*what, options);
  if (!done) return io.fail(done.failure());
  played out;
  out.report = bench::serving_report(*what, *done, *how);
  out.text = bench::report_block(out.report, *how);
  const auto file = o.save_result && o.save.empty() ? std::string("bench-serve.json") : o.save;
  if (const auto shown = show_report(io, out, file); !shown) return io.fail(shown.failure());
  return number(out.report, "failed") > 0 ? failed : success;
}

}  // namespace

void add_bench(program& p) {
  auto* group = p.app.add_subcommand("bench", "Measure a running server");
  group->require_subcommand(1);
  add_bench_engine(p, *group);
  add_bench_step(p, *group);
  add_bench_co_run(p, *group);
  verb v(*group, "serve", "Open-loop load on an OpenAI server; vLLM's flags and report");
  const auto o = std::make_shared<serve_options>();
  v.flag("--backend", o->backend,
         "openai-chat, openai (completions) or collm (chat, with the site)")
      ->check(CLI::IsMember({"openai-chat", "openai", "collm"}))
      ->capture_default_str();
  v.flag("--base-url", o->base_url, "the gateway")->capture_default_str();
  v.flag("--model", o->model, "adapter, adapter@version or base")->capture_default_str();
  v.flag("--dataset-name", o->dataset, "demo, or custom with --dataset-path")
      ->capture_default_str();
  v.flag("--dataset-path", o->dataset_path, "JSONL with messages or prompt/completion");
  v.flag("--site", o->site, "whose demo texts")->capture_default_str();
  v.flag("--num-prompts", o->prompts, "requests")
      ->check(CLI::Range(1u, 1000000u))
      ->capture_default_str();
  v.flag("--request-rate", o->rate, "requests a second; inf: all at once");
  v.flag("--burstiness", o->burstiness, "1: Poisson; other values are not built")
      ->check(CLI::Range(1.0, 1.0));
  v.flag("--max-concurrency", o->max_concurrency, "open requests at once")
      ->check(CLI::Range(1u, 1024u))
      ->capture_default_str();
  v.flag("--ramp-up-strategy", o->ramp, "none; others are not built")
      ->check(CLI::IsMember({"none"}));
  v.flag("--max-tokens", o->max_tokens, "of each answer")->capture_default_str();
  v.flag("--goodput", o->goodput, "ttft:MS tpot:MS e2el:MS");
  v.flag("--percentile-metrics", o->metrics, "ttft,tpot,itl,e2el")->capture_default_str();
  v.flag("--metric-percentiles", o->percentiles, "50,99")->capture_default_str();
  v.flag("--lora-modules", o->modules, "adapters to ask instead of --model");
  v.flag("--lora-assignment", o->assignment, "random or round-robin")
      ->check(CLI::IsMember({"random", "round-robin"}));
  v.toggle("--ignore-eos", o->ignore_eos, "always produce --max-tokens");
  v.flag("--seed", o->seed, "of arrivals and texts")->capture_default_str();
  v.toggle("--save-result", o->save_result, "write bench-serve.json, or --result-filename");
  v.flag("--result-filename", o->save, "where the JSON goes");
  v.flag("--key", o->key, "API key");
  v.flag("--ca", o->ca, "PEM file of whom to trust at an https address");
  v.runs(p.io, p.exit, [&io = p.io, o] { return serve(io, *o); });
}

}  // namespace collm::cli
