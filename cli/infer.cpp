#include "cli/chat_turn.hpp"
#include "cli/verbs.hpp"

#include <ostream>

namespace collm::cli {
namespace {

struct infer_options {
  cluster_flags cluster;
  std::string prompt, site, model;
  unsigned max_tokens = 256;
  double temperature = 0;
  std::uint64_t seed = 0;
  bool raw = false;
};

json request_of(const infer_options& o) {
  json body = {{"model", o.model},
               {"max_tokens", o.max_tokens},
               {"temperature", o.temperature},
               {"seed", o.seed}};
  if (o.raw)
    body["prompt"] = o.prompt;
  else
    body["messages"] = json::array({{{"role", "user"}, {"content", o.prompt}}});
  if (!o.site.empty()) body["site"] = o.site;
  return body;
}

int infer(console& io, const infer_options& o) {
  const auto found = connect_site(o.cluster, o.site);
  if (!found) return io.fail(found.failure());
  const auto& [cluster, node] = *found;
  const auto answered = ask(cluster, o.raw ? "/v1/completions" : "/v1/chat/completions",
                            request_of(o), [&](const std::string& piece) {
                              if (!io.wants_json()) io.out() << piece << std::flush;
                            });
  if (!answered) return io.fail(answered.failure());
  if (io.wants_json()) {
    io.print(turn_json(*answered, node));
  } else {
    io.out() << std::endl;
    io.remarks() << io.painted(footer(*answered, node), style::dim) << std::endl;
  }
  return success;
}

}  // namespace

void add_infer(program& p) {
  verb v(p.app, "infer", "One answer to one prompt");
  const auto o = std::make_shared<infer_options>();
  v.argument("prompt", o->prompt, "what to ask");
  v.flag("--site", o->site, "site whose gateway answers; may be left out where there is one");
  v.flag("--model", o->model, "adapter, adapter@version or the base; left out: the only adapter");
  v.flag("--max-tokens", o->max_tokens, "longest answer")
      ->check(CLI::Range(1u, 32768u))
      ->capture_default_str();
  v.flag("--temperature", o->temperature, "0: greedy")->check(CLI::Range(0.0, 2.0));
  v.flag("--seed", o->seed, "of the sampler");
  v.toggle("--raw", o->raw, "complete the text as it is, without the chat template");
  add_cluster_flags(v, o->cluster);
  v.runs(p.io, p.exit, [&io = p.io, o] { return infer(io, *o); });
}

}  // namespace collm::cli
