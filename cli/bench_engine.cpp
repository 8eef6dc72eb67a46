// `collm bench engine`: the engine alone, no actors, no gateway.
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <optional>
#include <ostream>

#include "cli/verbs.hpp"
#include "deploy/engine_bench.hpp"
#include "deploy/plan.hpp"

namespace collm::cli {
namespace {

struct bench_engine_options {
  deploy::engine_bench_options rates;
  std::string model, precision = "int8", text;
  std::uint32_t tokens = 8192, window = 512;
  bool only_perplexity = false;
};

/// Resident bytes of shared libraries, shared with other processes that map them.
std::uint64_t libraries_bytes() {
  std::ifstream maps("/proc/self/smaps");
  std::uint64_t kibibytes = 0;
  bool library = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.starts_with("Rss:")) {
      if (library) kibibytes += std::stoull(line.substr(4));
    } else if (line.find('-') < line.find(' ')) {  // a mapping: from-to rights … path
      library = line.find(".so") != std::string::npos;
    }
  }
  return kibibytes << 10;
}

std::uint64_t peak_bytes() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return static_cast<std::uint64_t>(used.ru_maxrss) * 1024;
}

json rates_json(const deploy::rates& runs) {
  return {{"tokens_per_s", deploy::median(runs)}, {"runs", runs}};
}

json to_json(const bench_engine_options& o, const deploy::engine_bench* b,
             const deploy::perplexity* p) {
  json out = {{"model", o.rates.model.filename().string()},
              {"precision", o.precision},
              {"kernel_path", engine::kernel_path()},
              {"threads", o.rates.threads},
              {"adapters", o.rates.adapters}};
  if (b != nullptr) {
    out["open_seconds"] = b->open_seconds;
    out["prefill"] = rates_json(b->prefill_tokens_per_s);
    out["prefill"]["tokens"] = o.rates.prefill_tokens;
    out["decode"] = json::array();
    for (const auto& row : b->decode) {
      json one = rates_json(row.tokens_per_s);
      one["sequences"] = row.sequences;
      one["context_tokens"] = o.rates.context_tokens;
      one["steps"] = o.rates.steps;
      out["decode"].push_back(std::move(one));
    }
    out["memory"] = {{"base_bytes", b->memory.base_bytes},
                     {"kv_bytes", b->memory.kv_bytes},
                     {"version_bytes", b->memory.version_bytes},
                     {"activation_bytes", b->memory.activation_bytes}};
  }
  if (p != nullptr) {
    out["perplexity"] = {{"window", o.window},
                         {"windows", p->windows},
                         {"all", p->all},
                         {"second_half", p->second_half}};
  }
  out["peak_rss_bytes"] = peak_bytes();
  out["libraries_rss_bytes"] = libraries_bytes();
  return out;
}

std::string shown(double value, int digits = 1) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::vector<std::string> row_of(const std::string& what, const deploy::rates& runs) {
  const auto [least, most] = std::minmax_element(runs.begin(), runs.end());
  return {what, shown(deploy::median(runs)), shown(*least), shown(*most)};
}

std::string to_text(const bench_engine_options& o, const deploy::engine_bench* b,
                    const deploy::perplexity* p) {
  std::vector<std::vector<std::string>> rows;
  if (b != nullptr) {
    rows.push_back({"tokens/s", "median", "least", "most"});
    rows.push_back(
        row_of("prefill of " + std::to_string(o.rates.prefill_tokens), b->prefill_tokens_per_s));
    for (const auto& d : b->decode)
      rows.push_back(row_of("decode, " + std::to_string(d.sequences) + " at once", d.tokens_per_s));
  }
  std::string out = o.rates.model.filename().string() + ", " + o.precision + ", " +
                    engine::kernel_path() + ", " + std::to_string(o.rates.threads) +
                    " threads, adapters: " + std::to_string(o.rates.adapters) + "\n" + table(rows);
  if (p != nullptr)
    out += "perplexity " + shown(p->all, 3) + " (" + std::to_string(p->windows) + " windows of " +
           std::to_string(o.window) + "; second halves alone " + shown(p->second_half, 3) + ")\n";
  const auto mebibytes = [](std::uint64_t bytes) {
    return shown(static_cast<double>(bytes) / 1048576.0, 0) + " MiB";
  };
  return out + "peak memory " + mebibytes(peak_bytes()) + ", of it libraries " +
         mebibytes(libraries_bytes()) + "\n";
}

int bench_engine(console& io, bench_engine_options o) {
  const auto on = deploy::machine::here();
  o.rates.cache_dir = on.cache_dir / "bases";
  o.rates.model = o.model.empty() ? on.cache_dir / "models" / "smollm2-135m-instruct.gguf"
                                  : std::filesystem::path(o.model);
  o.rates.precision = o.precision == "f32" ? engine::precision::f32 : engine::precision::int8;
  std::optional<deploy::engine_bench> rates;
  if (!o.only_perplexity) {
    auto done = deploy::run_engine_bench(o.rates);
    if (!done) return io.fail(done.failure());
    rates = std::move(*done);
  }
  std::optional<deploy::perplexity> surprise;
  if (!o.text.empty()) {
    auto done = deploy::measure_perplexity(
        {o.rates.model, o.rates.cache_dir, o.text, o.rates.precision, o.tokens, o.window});
    if (!done) return io.fail(done.failure());
    surprise = *done;
  }
  const auto* b = rates ? &*rates : nullptr;
  const auto* p = surprise ? &*surprise : nullptr;
  if (io.wants_json())
    io.print(to_json(o, b, p));
  else
    io.out() << to_text(o, b, p);
  return success;
}

}  // namespace

void add_bench_engine(program& p, CLI::App& group) {
  verb v(group, "engine", "What one engine alone can do: tokens/s and perplexity");
  const auto o = std::make_shared<bench_engine_options>();
  v.flag("--model", o->model, "GGUF file; left out: SmolLM2 in the cache");
  v.flag("--precision", o->precision, "int8 or f32")
      ->check(CLI::IsMember({"int8", "f32"}))
      ->capture_default_str();
  v.flag("--threads", o->rates.threads, "of the engine")
      ->check(CLI::Range(1u, 256u))
      ->capture_default_str();
  v.flag("--prefill", o->rates.prefill_tokens, "tokens of the prompt")->capture_default_str();
  v.flag("--decode", o->rates.decode, "sequences at once: 1,8,16,32")
      ->delimiter(',')
      ->capture_default_str();
  v.flag("--context", o->rates.context_tokens, "tokens before decoding")->capture_default_str();
  v.flag("--steps", o->rates.steps, "tokens of each sequence")->capture_default_str();
  v.flag("--adapters", o->rates.adapters, "that the sequences take in turn; 0: none")
      ->check(CLI::Range(0u, 64u))
      ->capture_default_str();
  v.flag("--runs", o->rates.runs, "of each row, after one to warm up")
      ->check(CLI::Range(1u, 100u))
      ->capture_default_str();
  v.flag("--perplexity", o->text, "a text file to measure perplexity on");
  v.flag("--tokens", o->tokens, "of that text")
      ->check(CLI::Range(4u, 1u << 22))
      ->capture_default_str();
  v.flag("--window", o->window, "tokens of a perplexity window")->capture_default_str();
  v.toggle("--only-perplexity", o->only_perplexity, "leave the rates out");
  v.runs(p.io, p.exit, [&io = p.io, o] { return bench_engine(io, *o); });
}

}  // namespace collm::cli
