#include "cli/chat_turn.hpp"
#include "cli/verbs.hpp"

#include <unistd.h>

#include <iostream>

namespace collm::cli {
namespace {

struct chat_options {
  cluster_flags cluster;
  std::string site, model, system;
  double temperature = 0;
  unsigned max_tokens = 256;
};

json request_of(const chat_options& o, const json& messages) {
  json body = {
      {"messages", messages}, {"temperature", o.temperature}, {"max_tokens", o.max_tokens}};
  body["model"] = o.model;
  if (!o.site.empty()) body["site"] = o.site;
  return body;
}

bool next_line(bool prompting, std::string& line) {
  if (prompting) std::cerr << "> " << std::flush;
  return static_cast<bool>(std::getline(std::cin, line));
}

int chat(console& io, const chat_options& o) {
  const auto found = connect_site(o.cluster, o.site);
  if (!found) return io.fail(found.failure());
  const auto& [cluster, node] = *found;
  const bool prompting = ::isatty(STDIN_FILENO) && !io.wants_json();
  json messages = json::array();
  if (!o.system.empty()) messages.push_back({{"role", "system"}, {"content", o.system}});
  int outcome = success;
  for (std::string line; next_line(prompting, line);) {
    if (line.empty()) continue;
    messages.push_back({{"role", "user"}, {"content", line}});
    const auto answered = ask(cluster, "/v1/chat/completions", request_of(o, messages),
                              [&](const std::string& piece) {
                                if (!io.wants_json()) io.out() << piece << std::flush;
                              });
    if (!answered) {
      if (!io.wants_json()) io.out() << std::endl;
      outcome = io.fail(answered.failure());
      messages.erase(messages.end() - 1);  // the next turn starts from what was answered
      continue;
    }
    messages.push_back({{"role", "assistant"}, {"content", answered->answer}});
    if (io.wants_json()) {
      io.print(turn_json(*answered, node));
    } else {
      io.out() << "\n" << io.painted(footer(*answered, node), style::dim) << std::endl;
    }
  }
  return outcome;
}

}  // namespace

void add_chat(program& p) {
  verb v(p.app, "chat", "Talk to a site; one line a turn, until end of input");
  const auto o = std::make_shared<chat_options>();
  v.flag("--site", o->site, "site whose gateway answers; may be left out where there is one");
  v.flag("--model", o->model, "adapter, adapter@version or the base; left out: the only adapter");
  v.flag("--system", o->system, "system message");
  v.flag("--temperature", o->temperature, "0: greedy")->check(CLI::Range(0.0, 2.0));
  v.flag("--max-tokens", o->max_tokens, "longest answer")
      ->check(CLI::Range(1u, 32768u))
      ->capture_default_str();
  add_cluster_flags(v, o->cluster);
  v.runs(p.io, p.exit, [&io = p.io, o] { return chat(io, *o); });
}

}  // namespace collm::cli
