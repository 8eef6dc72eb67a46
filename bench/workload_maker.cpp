#include "bench/workload_maker.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "bench/lines.hpp"
#include "demo/rng.hpp"
#include "messages/json_text.hpp"

namespace collm::bench {
namespace {

using json = nlohmann::ordered_json;

constexpr std::size_t data_line_bytes_max = 1u << 20;
constexpr std::size_t texts_max = 1'000'000;
constexpr std::uint32_t prompt_tokens_max = 1u << 20;
constexpr double scale_max = 1e6;

std::optional<text> chat(const json& line) {
  text t;
  for (const json& m : line["messages"]) {
    if (!m.is_object() || !m.contains("role") || !m.contains("content")) return std::nullopt;
    if (!m["role"].is_string() || !m["content"].is_string()) return std::nullopt;
    t.messages.push_back({m["role"].get<std::string>(), m["content"].get<std::string>()});
  }
  if (t.messages.size() < 2 || t.messages.back().role != "assistant") return std::nullopt;
  t.reference = std::move(t.messages.back().content);
  t.messages.pop_back();
  return t;
}

std::optional<text> completion(const json& line) {
  if (!line["prompt"].is_string() || !line["completion"].is_string()) return std::nullopt;
  return text{"",
              {{"user", line["prompt"].get<std::string>()}},
              line["completion"].get<std::string>(),
              scorer::none,
              "served"};
}

std::optional<text> parsed(const std::string& line_text) {
  const json line = parse_json<json>(line_text);
  if (!line.is_object()) return std::nullopt;
  if (line.contains("messages") && line["messages"].is_array()) return chat(line);
  if (line.contains("prompt") && line.contains("completion")) return completion(line);
  return std::nullopt;
}

std::size_t bytes_of(const std::vector<message>& messages) {
  std::size_t bytes = 0;
  for (const message& m : messages) bytes += m.content.size();
  return bytes;
}

/// One made-up log line; it differs from prompt to prompt, so that padding is not one long shared
/// prefix.
std::string log_line(demo::rng& random) {
  static constexpr const char* what[] = {"shift handed over", "filter changed",  "door checked",
                                         "pallet counted",    "floor swept",     "gauge read",
                                         "stock moved",       "cover tightened", "light replaced"};
  static constexpr const char* who[] = {"Ana", "Bo",    "Chidi", "Dana",
                                        "Eli", "Farah", "Gus",   "Hana"};
  return "log " + std::to_string(1000 + random.below(9000)) + ": " + random.pick(what) + " by " +
         random.pick(who) + "\n";
}

void pad(std::vector<message>& messages, std::size_t bytes, demo::rng& random) {
  std::string log;
  while (log.size() < bytes) log += log_line(random);
  if (messages.front().role != "system") messages.insert(messages.begin(), {"system", ""});
  std::string& system = messages.front().content;
  system += (system.empty() ? "" : "\n") + log.substr(0, log.find_last_of('\n', bytes) + 1);
}

/// Cuts the beginning of the last user message, not inside a UTF-8 character; at least one
/// character stays.
void cut(std::vector<message>& messages, std::size_t bytes) {
  std::string& last = messages.back().content;
  if (last.empty()) return;
  std::size_t at = std::min(bytes, last.size() - 1);
  const auto inside = [&](std::size_t i) {
    return (static_cast<unsigned char>(last[i]) & 0xC0) == 0x80;
  };
  while (at > 0 && inside(at)) --at;
  last.erase(0, at);
}

void fit_prompt(request& r, std::uint32_t tokens, const making& how, demo::rng& random) {
  const auto wanted = static_cast<std::size_t>(tokens * how.bytes_per_token);
  const std::size_t have = bytes_of(r.messages);
  if (have < wanted) pad(r.messages, wanted - have, random);
  if (have > wanted && r.judged_by == scorer::none) cut(r.messages, have - wanted);
}

std::uint32_t scaled(std::uint32_t tokens, double scale) {
  return static_cast<std::uint32_t>(
      std::clamp(std::floor(tokens * scale + 0.5), 1.0, double{prompt_tokens_max}));
}

/// JSON and prose take more than two bytes a token; eight more for the end mark and unusual
/// spellings.
std::uint32_t tokens_enough_for(const std::string& reference) {
  return static_cast<std::uint32_t>(reference.size() / 2 + 8);
}

std::uint32_t answer_tokens(const arrival& a, const text& t, const making& how) {
  const std::uint32_t limit = workload_limits{}.max_tokens_max;
  std::uint32_t tokens =
      a.answer_tokens > 0 ? scaled(a.answer_tokens, how.length_scale) : how.max_tokens;
  if (t.judged_by != scorer::none) tokens = std::max(tokens, tokens_enough_for(t.reference));
  return std::clamp(tokens, 1u, limit);
}

std::string header(const making& how, std::size_t requests) {
  json made{
      {"requests", requests},         {"arrivals", how.arrivals_from},    {"texts", how.texts_from},
      {"time_scale", how.time_scale}, {"length_scale", how.length_scale}, {"seed", how.seed}};
  if (how.prompts == fit::pad_and_cut) {
    made["prompts"] =
        "padded to the scaled length with log lines in the system message; cut at the beginning of "
        "the last user message "
        "only where nothing judges the answer";
    made["bytes_per_token"] = how.bytes_per_token;
  } else {
    made["prompts"] = "as they are";
  }
  made["max_tokens"] = "scaled answer length, at least what the reference needs";
  return made.dump(-1, ' ', false, json::error_handler_t::replace);
}

result<void> check(const std::vector<arrival>& arrivals, const std::vector<text>& texts,
                   const making& how) {
  if (arrivals.empty()) return error{errc::bad_request, "no arrivals"};
  if (texts.empty()) return error{errc::bad_request, "no texts"};
  const auto positive = [](double v) { return v > 0 && v <= scale_max; };
  if (!positive(how.time_scale) || !positive(how.length_scale) || !positive(how.bytes_per_token))
    return error{errc::bad_request,
                 "time scale, length scale and bytes a token must be above 0 and at most 1e6"};
  const double end_ms = static_cast<double>(arrivals.back().t_ms) * how.time_scale;
  if (end_ms > static_cast<double>(workload_limits{}.t_ms_max))
    return error{errc::bad_request,
                 "the workload would last longer than a week; lower the time scale"};
  return {};
}

}  // namespace

result<std::vector<text>> demo_texts(const std::vector<demo::site>& sites, demo::split part,
                                     std::uint64_t count, std::uint64_t seed) {
  if (sites.empty()) return error{errc::bad_request, "no site"};
  demo::rng random(seed);
  std::map<demo::site, std::vector<demo::example>> examples;
  std::vector<demo::site> turns;
  std::map<demo::site, std::uint32_t> asked;
  for (std::uint64_t i = 0; i < count; ++i) {
    turns.push_back(random.pick(std::span(sites)));
    asked[turns.back()] = std::min(asked[turns.back()] + 1, demo::examples_max);
  }
  for (const auto& [where, n] : asked) {
    auto made = demo::generate(where, part, n, seed);
    if (!made) return made.failure();
    examples[where] = std::move(*made);
  }
  std::vector<text> texts;
  std::map<demo::site, std::size_t> next;
  for (const demo::site where : turns) {
    const demo::example& e = examples[where][next[where]++ % examples[where].size()];
    texts.push_back({std::string(to_string(where)), e.messages, e.reference, scorer::exact,
                     std::string(to_string(part))});
  }
  return texts;
}

result<std::vector<text>> read_texts(std::istream& in, const std::string& name,
                                     const std::vector<std::string>& sites, scorer judged_by) {
  if (sites.empty()) return error{errc::bad_request, "no site"};
  std::vector<text> texts;
  line_reader lines(in, name, data_line_bytes_max);
  std::string line;
  while (true) {
    const auto more = lines.next(line);
    if (!more) return more.failure();
    if (!*more) break;
    if (line.empty()) continue;
    auto t = parsed(line);
    if (!t)
      return lines.wrong(
          "must be {\"messages\":[…]} ending with the assistant's, or "
          "{\"prompt\":…,\"completion\":…}");
    if (texts.size() == texts_max) return lines.wrong("more than 1000000 lines", errc::too_large);
    t->site = sites[texts.size() % sites.size()];
    t->judged_by = t->reference.empty() ? scorer::none : judged_by;
    texts.push_back(std::move(*t));
  }
  if (texts.empty()) return error{errc::bad_request, name + ": holds no text"};
  return texts;
}

result<std::vector<text>> read_texts_file(const std::string& path,
                                          const std::vector<std::string>& sites, scorer judged_by) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return error{errc::io, path + ": cannot be opened; is there such a file?"};
  return read_texts(in, path, sites, judged_by);
}

result<workload> make_workload(const std::vector<arrival>& arrivals, const std::vector<text>& texts,
                               const making& how) {
  if (auto fine = check(arrivals, texts, how); !fine) return fine.failure();
  demo::rng random(how.seed);
  workload made;
  made.made = header(how, arrivals.size());
  for (std::size_t i = 0; i < arrivals.size(); ++i) {
    const arrival& a = arrivals[i];
    const text& t = texts[i % texts.size()];
    request r{static_cast<std::uint64_t>(static_cast<double>(a.t_ms) * how.time_scale),
              how.tenant.empty() ? t.site : how.tenant,
              t.site,
              how.adapter,
              t.messages,
              t.reference,
              t.judged_by,
              answer_tokens(a, t, how),
              t.split};
    if (how.prompts == fit::pad_and_cut && a.prompt_tokens > 0)
      fit_prompt(r, scaled(a.prompt_tokens, how.length_scale), how, random);
    made.requests.push_back(std::move(r));
  }
  return made;
}

std::string told(const std::string& trace_name, trace_cut cut, std::size_t kept) {
  return trace_name + ", arrivals " + std::to_string(cut.skip + 1) + " to " +
         std::to_string(cut.skip + kept);
}

}  // namespace collm::bench
