#include "bench/player.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "bench/http_client.hpp"
#include "messages/json_text.hpp"

namespace collm::bench {

namespace {

using nlohmann::json;
using clock = std::chrono::steady_clock;
constexpr auto retry_pause = std::chrono::milliseconds(250);
constexpr auto look_again = std::chrono::milliseconds(100);

double ms_between(clock::time_point from, clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

/// User and system time of this process, s.
double cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

json body_of(const request& r, const play_options& o) {
  json body = {{"model", r.adapter},
               {"max_tokens", r.max_tokens},
               {"temperature", 0},
               {"stream", true},
               {"stream_options", {{"include_usage", true}}}};
  if (o.chat) {
    body["messages"] = json::array();
    for (const auto& m : r.messages)
      body["messages"].push_back({{"role", m.role}, {"content", m.content}});
  } else {
    body["prompt"] = r.messages.empty() ? "" : r.messages.back().content;
  }
  if (o.ignore_eos) body["ignore_eos"] = true;
  if (o.extensions && !r.site.empty()) body["site"] = r.site;
  return body;
}

/// Follows one answer's stream.
class listener {
 public:
  listener(played_request& record, clock::time_point planned) : r_(record), planned_(planned) {}

  bool heard() const { return heard_; }

  bool hear(std::string_view data) {
    heard_ = true;
    if (data == "[DONE]") {
      done_ = true;
      return true;
    }
    const auto event = parse_json<json>(data);
    if (!event.is_object()) return fail("a stream event is not JSON");
    if (event.contains("error"))
      return fail(event["error"].value("message", "error without words"));
    if (event.contains("model") && event["model"].is_string()) r_.answered_by = event["model"];
    if (event.contains("usage") && event["usage"].is_object()) {
      r_.prompt_tokens = event["usage"].value("prompt_tokens", 0u);
      r_.output_tokens = event["usage"].value("completion_tokens", 0u);
    }
    for (const auto& choice : event.value("choices", json::array())) take(choice);
    return true;
  }

  void close() {
    if (!r_.error.empty()) return;
    if (!finished_ || !done_) {
      r_.error = "the stream ended before the answer did";
      return;
    }
    r_.how = outcome::answered;
    r_.ttft_ms = first_ms_ < 0 ? last_ms_ : first_ms_;
    r_.e2el_ms = last_ms_;
    if (r_.output_tokens > 1 && first_ms_ >= 0)
      r_.tpot_ms = (last_token_ms_ - first_ms_) / (r_.output_tokens - 1);
  }

 private:
  bool fail(const std::string& why) {
    r_.error = why;
    return false;
  }
  void take(const json& choice) {
    const double now = ms_between(planned_, clock::now());
    last_ms_ = now;
    const auto& delta = choice.contains("delta") ? choice["delta"] : choice;
    const char* field = choice.contains("delta") ? "content" : "text";
    const bool token = delta.contains(field) && delta[field].is_string();
    if (token) {
      const auto text = delta[field].get<std::string>();
      // The first chunk of a chat stream only names the role.
      if (!text.empty() || !delta.contains("role")) note_token(now);
      r_.text += text;
    }
    const auto finish = choice.find("finish_reason");
    if (finish != choice.end() && finish->is_string()) {
      finished_ = true;
      if (*finish == "error" || *finish == "cancelled")
        r_.error = "finish_reason " + finish->get<std::string>();
    }
  }
  void note_token(double now) {
    if (first_ms_ < 0) {
      first_ms_ = now;
    } else {
      r_.itl_ms.push_back(now - last_token_ms_);
    }
    last_token_ms_ = now;
  }

  played_request& r_;
  clock::time_point planned_;
  double first_ms_ = -1, last_token_ms_ = 0, last_ms_ = 0;
  bool heard_ = false, finished_ = false, done_ = false;
};

std::string words_of(const http_reply& reply) {
  const auto body = parse_json<json>(reply.body);
  std::string words = "HTTP " + std::to_string(reply.status);
  if (body.is_object() && body.contains("error") && body["error"].is_object()) {
    words += ": " + body["error"].value("message", "");
  }
  return words;
}

class orchestra {
 public:
  orchestra(const workload& what, const play_options& options,
            std::map<std::string, http_client> clients)
      : what_(what), options_(options), clients_(std::move(clients)) {
    result_.requests.resize(what.requests.size());
  }

  play_result play() {
    // A little ahead, so that the first threads stand ready at their first planned time.
    begun_ = clock::now() + std::chrono::milliseconds(50);
    const double cpu = cpu_seconds();
    const auto count = std::min<std::size_t>(options_.max_concurrency, what_.requests.size());
    std::vector<std::thread> players;
    for (std::size_t i = 0; i < count; ++i) players.emplace_back([this] { work(); });
    for (auto& p : players) p.join();
    result_.seconds = ms_between(begun_, clock::now()) / 1000;
    result_.own_cpu_share = (cpu_seconds() - cpu) / std::max(1e-3, result_.seconds);
    result_.peak_concurrent = peak_.load();
    return std::move(result_);
  }

 private:
  void work() {
    for (;;) {
      const auto index = next_.fetch_add(1);
      if (index >= what_.requests.size()) return;
      const auto planned = begun_ + std::chrono::milliseconds(what_.requests[index].t_ms);
      if (!waited_until(planned)) return;
      const auto now_open = open_.fetch_add(1) + 1;
      auto peak = peak_.load();
      while (now_open > peak && !peak_.compare_exchange_weak(peak, now_open)) {
      }
      auto& record = result_.requests[index];
      record.index = static_cast<std::uint32_t>(index);
      ask(what_.requests[index], planned, record);
      open_.fetch_sub(1);
    }
  }

  bool is_over() const { return options_.over && options_.over(); }

  /// False: the play is over before then.
  bool waited_until(clock::time_point planned) const {
    while (options_.over && planned - clock::now() > look_again && !is_over())
      std::this_thread::sleep_for(look_again);
    if (is_over()) return false;
    std::this_thread::sleep_until(planned);
    return true;
  }

  void ask(const request& r, clock::time_point planned, played_request& record) {
    http_call call;
    call.method = "POST";
    call.over = options_.over;
    call.target = options_.backend_path.empty()
                      ? (options_.chat ? "/v1/chat/completions" : "/v1/completions")
                      : options_.backend_path;
    call.body = body_of(r, options_).dump(-1, ' ', false, json::error_handler_t::replace);
    if (!options_.key.empty()) call.headers.emplace_back("Authorization", "Bearer " + options_.key);
    record.sent_ms = ms_between(planned, clock::now());
    listener hears(record, planned);
    const auto at = clients_.find(r.site);
    const auto& client = at == clients_.end() ? clients_.at("") : at->second;
    auto reply = client.stream(call, [&](std::string_view data) { return hears.hear(data); });
    while (!reply && !hears.heard() && !is_over() && clock::now() - planned < options_.retry_for) {
      ++record.retries;
      std::this_thread::sleep_for(retry_pause);
      reply = client.stream(call, [&](std::string_view data) { return hears.hear(data); });
    }
    if (!reply) {
      if (record.error.empty()) record.error = reply.failure().message;
    } else if (!reply->ok()) {
      record.error = words_of(*reply);
      if (reply->status == 429 || reply->status == 503) record.how = outcome::refused;
    } else {
      hears.close();
    }
    if (const auto right = demo::is_right(r.judged_by, record.text, r.reference)) {
      record.judged = true;
      record.right = record.how == outcome::answered && *right;
    }
  }

  const workload& what_;
  const play_options& options_;
  const std::map<std::string, http_client> clients_;
  clock::time_point begun_;
  play_result result_;
  std::atomic<std::size_t> next_{0};
  std::atomic<std::uint32_t> open_{0}, peak_{0};
};

}  // namespace

result<play_result> play(const workload& what, const play_options& options) {
  std::map<std::string, http_client> clients;
  for (const auto& [site, url] : options.gateways) {
    auto parsed = parse_url(url);
    if (!parsed) return parsed.failure();
    clients.emplace(site, http_client(*parsed, options.ca));
  }
  for (const auto& r : what.requests) {
    if (!clients.contains(r.site) && !clients.contains("")) {
      return error{errc::bad_request,
                   "the workload asks site '" + r.site + "', which has no serving gateway"};
    }
  }
  auto done = orchestra(what, options, std::move(clients)).play();
  if (options.over && options.over()) return error{errc::cancelled, "stopped before its end"};
  return done;
}

}  // namespace collm::bench
