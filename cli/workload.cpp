#include "bench/workload_maker.hpp"
#include "cli/verbs.hpp"

#include <ostream>

namespace collm::cli {
namespace {

struct workload_options {
  std::string trace, texts = "demo", into;
  double rate = 1, time_scale = 1, length_scale = 1;
  std::uint64_t count = 1000, skip = 0, seed = 1;
  std::vector<std::string> sites = {"kitchen", "workshop"};
};

result<std::vector<bench::arrival>> arrivals_of(const workload_options& o) {
  if (o.trace.empty())
    return bench::arrivals_at_rate(bench::spacing::poisson, o.rate, o.count, o.seed);
  return bench::read_trace_file(o.trace, {o.skip, o.count});
}

result<std::vector<bench::text>> texts_of(const workload_options& o, std::uint64_t count) {
  if (o.texts != "demo") return bench::read_texts_file(o.texts, o.sites, bench::scorer::exact);
  std::vector<demo::site> sites;
  for (const std::string& name : o.sites) {
    const auto site = demo::site_named(name);
    if (!site)
      return error{errc::bad_request,
                   "the demo has no site \"" + name + "\"; it has kitchen and workshop"};
    sites.push_back(*site);
  }
  return bench::demo_texts(sites, demo::split::served, count, o.seed);
}

bench::making making_of(const workload_options& o, std::size_t arrivals) {
  bench::making how;
  how.time_scale = o.time_scale;
  how.length_scale = o.length_scale;
  how.seed = o.seed;
  how.prompts = o.trace.empty() ? bench::fit::as_is : bench::fit::pad_and_cut;
  how.arrivals_from = o.trace.empty() ? json(o.rate).dump() + " requests/s, Poisson"
                                      : bench::told(o.trace, {o.skip, o.count}, arrivals);
  how.texts_from = o.texts;
  return how;
}

int make(console& io, const workload_options& o) {
  const auto arrivals = arrivals_of(o);
  if (!arrivals) return io.fail(arrivals.failure());
  const auto texts = texts_of(o, arrivals->size());
  if (!texts) return io.fail(texts.failure());
  const auto made = bench::make_workload(*arrivals, *texts, making_of(o, arrivals->size()));
  if (!made) return io.fail(made.failure());
  const auto written = bench::write_workload_file(o.into, *made);
  if (!written) return io.fail(written.failure());
  const double seconds = made->requests.empty() ? 0 : double(made->requests.back().t_ms) / 1000;
  if (io.wants_json())
    io.print({{"file", o.into},
              {"requests", made->requests.size()},
              {"seconds", seconds},
              {"made", json::parse(made->made, nullptr, false)}});
  else
    io.out() << o.into << ": " << made->requests.size() << " requests over " << seconds
             << " s; play it with collm inject " << o.into << "\n";
  return success;
}

}  // namespace

void add_workload(program& p) {
  CLI::App* parent = p.app.add_subcommand("workload", "Make workload files");
  parent->require_subcommand(1);
  verb v(*parent, "make", "Combine the times and lengths of a trace with the texts of a data set");
  const auto o = std::make_shared<workload_options>();
  v.argument("file", o->into, "workload file to write (JSONL)");
  v.flag("--trace", o->trace,
         "CSV of an Azure LLM inference trace; left out: Poisson arrivals at --rate");
  v.flag("--texts", o->texts, "demo, or a JSONL data set with messages")->capture_default_str();
  v.flag("--rate", o->rate, "requests a second without a trace")
      ->check(CLI::Range(0.001, 10000.0))
      ->capture_default_str();
  v.flag("--count", o->count, "requests, at most")
      ->check(CLI::Range(1ul, 1000000ul))
      ->capture_default_str();
  v.flag("--skip", o->skip, "arrivals of the trace to leave out first");
  v.flag("--time-scale", o->time_scale, "times of the file = this times the trace's")
      ->check(CLI::Range(0.0001, 1000.0));
  v.flag("--length-scale", o->length_scale, "lengths of the file = this times the trace's")
      ->check(CLI::Range(0.0001, 100.0));
  v.flag("--sites", o->sites, "sites that take turns")->delimiter(',');
  v.flag("--seed", o->seed, "of everything that is drawn")->capture_default_str();
  v.runs(p.io, p.exit, [&io = p.io, o] { return make(io, *o); });
}

}  // namespace collm::cli
