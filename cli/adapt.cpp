// `collm adapt`: a site's own file into its store, then a job, followed to its end.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>
#include <thread>

#include "cli/cluster_client.hpp"
#include "cli/training_view.hpp"
#include "cli/verbs.hpp"

namespace collm::cli {
namespace {

constexpr std::size_t part_bytes_max = 768u << 10;  // with its form, below requestBytes of 1Mi
constexpr std::chrono::seconds look_again{2};

struct adapt_options {
  cluster_flags cluster;
  std::string site, file, adapter;
  std::uint32_t rounds = 0;
  bool no_wait = false;
};

struct upload_result {
  double added = 0, known = 0, bad = 0;
  json bad_lines = json::array();
  std::string file_id;  ///< of the last part
};

result<std::string> read_whole(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), {});
  if (!in && !in.eof()) return error{errc::io, "cannot read " + file};
  if (text.empty()) return error{errc::bad_request, file + " is empty or cannot be read"};
  return text;
}

/// Bad lines get their number in the whole file.
void add_part(upload_result& to, const json& answer, std::uint64_t lines_before) {
  const json& lines = part(answer, "lines");
  to.added += number(lines, "added");
  to.known += number(lines, "known");
  to.bad += number(lines, "bad");
  to.file_id = text(answer, "id");
  const json& first = part(lines, "first_bad");
  if (!first.is_array()) return;
  for (const json& one : first) {
    to.bad_lines.push_back({{"line", number(one, "line") + static_cast<double>(lines_before)},
                            {"reason", text(one, "reason")}});
  }
}

result<upload_result> send_file(const cluster_client& gateway, const std::string& name,
                                const std::string& content) {
  upload_result sum;
  for (const auto& piece : split_lines(content, part_bytes_max)) {
    const auto answer = gateway.upload(name, piece.text);
    if (!answer) {
      return error{answer.failure().code, "from line " + std::to_string(piece.lines_before + 1) +
                                              " on: " + answer.failure().message};
    }
    add_part(sum, *answer, piece.lines_before);
  }
  return sum;
}

void print_upload(console& io, const upload_result& sent) {
  for (const json& bad : sent.bad_lines) {
    io.remarks() << "line " << static_cast<std::uint64_t>(number(bad, "line")) << ": "
                 << text(bad, "reason") << "\n";
  }
  io.remarks() << sent.added << " lines are new, " << sent.known << " were known, " << sent.bad
               << " are bad" << std::endl;
}

std::string adapter_or_only(const json& status, const std::string& wanted) {
  if (!wanted.empty()) return wanted;
  std::string only;
  const json& versions = part(status, "versions");
  if (!versions.is_array()) return {};
  for (const json& v : versions) {
    const auto name = text(v, "adapter");
    if (!only.empty() && name != only) return {};
    only = name;
  }
  return only;
}

/// Tokens/s at which the site reads a short prompt now, the middle of three; 0: it cannot take one.
double reading_speed(const cluster_client& gateway, const std::string& adapter) {
  using clock = std::chrono::steady_clock;
  std::vector<double> speeds;
  const auto nonce = std::to_string(clock::now().time_since_epoch().count());
  for (const char* first : {"One", "Two", "Three"}) {  // a prompt that came before is not read
    std::string prompt = first + nonce;
    while (prompt.size() < 200) prompt += " rain falls on the river";
    const auto start = clock::now();
    const auto answer = gateway.post(
        "/v1/completions",
        {{"model", adapter}, {"prompt", prompt}, {"max_tokens", 1}, {"temperature", 0}});
    const std::chrono::duration<double> took = clock::now() - start;
    if (!answer) return 0;
    speeds.push_back(number(part(*answer, "usage"), "prompt_tokens") / took.count());
  }
  std::sort(speeds.begin(), speeds.end());
  return speeds[1];
}

/// Polls until the job has ended; says each round that ends.
result<json> follow(console& io, const cluster_client& head, const std::string& id) {
  double told = -1;
  for (;;) {
    const auto jobs = head.get("/admin/v1/jobs");
    if (!jobs) return jobs.failure();
    const json* job = find_job(*jobs, id);
    if (job == nullptr) return error{errc::not_found, "job " + id + " is gone"};
    if (const double done = number(*job, "done"); done != told) {
      told = done;
      io.remarks() << id << ": " << text(*job, "state") << ", " << done << " rounds, "
                   << number(*job, "promoted") << " versions went live" << std::endl;
    }
    const auto state = text(*job, "state");
    if (state != "queued" && state != "running") return *job;
    std::this_thread::sleep_for(look_again);  // another process's progress
  }
}

/// What this site's held-out data gained over the job's versions, as the gate measured each.
result<held_out_gain> gain_at(const cluster_client& head, const json& job,
                              const std::string& site) {
  held_out_gain gain;
  double version = number(job, "version");
  for (double left = number(job, "promoted"); left > 0 && version > 0; --left) {
    const auto why = head.get("/admin/v1/explain?adapter=" + text(job, "adapter") +
                              "&version=" + std::to_string(static_cast<std::uint32_t>(version)));
    if (!why) return why.failure();
    add_gain(gain, *why, site);
    version = number(part(*why, "version"), "parent", -1);
  }
  return gain;
}

void print_end(console& io, const json& job, const held_out_gain& gain, const std::string& site) {
  io.out() << job_text(job) << gain_text(gain, site);
}

int run_job(console& io, const adapt_options& o, const cluster_client& gateway,
            const cluster_client& head, const std::string& adapter, json& report) {
  json body = {{"model", adapter}, {"training_file", text(report, "file")}};
  if (o.rounds > 0) body["federation"] = {{"rounds", o.rounds}};
  const auto made = gateway.post("/v1/fine_tuning/jobs", body);
  if (!made) return io.fail(made.failure());
  const auto id = text(*made, "id");
  report["job"] = id;
  if (!o.no_wait) {
    const auto ended = follow(io, head, id);
    if (!ended) return io.fail(ended.failure());
    const auto gain = gain_at(head, *ended, text(report, "site"));
    if (!gain) return io.fail(gain.failure());
    report["ended"] = *ended;
    report["held_out"] = {
        {"nats_better", gain->nats}, {"versions", gain->versions}, {"sequences", gain->sequences}};
    if (!io.wants_json()) print_end(io, *ended, *gain, text(report, "site"));
    if (text(*ended, "state") == "failed")
      return io.wants_json() ? (io.print(report), failed) : failed;
  } else if (!io.wants_json()) {
    io.out() << "job " << id << " is made; collm job show " << id << " follows it\n";
  }
  if (io.wants_json()) io.print(report);
  return success;
}

int adapt(console& io, const adapt_options& o) {
  const auto content = read_whole(o.file);
  if (!content) return io.fail(content.failure());
  const auto head = cluster_client::connect(o.cluster);
  if (!head) return io.fail(head.failure());
  const auto status = head->status();
  if (!status) return io.fail(status.failure());
  const auto found = gateway_of(*status, o.site);
  if (!found) return io.fail(found.failure());
  const auto gateway = connect_gateway(o.cluster, *found);
  if (!gateway) return io.fail(gateway.failure());
  const auto adapter = adapter_or_only(*status, o.adapter);
  if (adapter.empty()) {
    return part(*status, "versions").empty()
               ? io.fail(
                     {errc::unavailable, "no adapter is registered yet; come again in a second"})
               : io.fail({errc::bad_request, "name the adapter to train with --adapter"});
  }
  auto ahead = forecast(*content, *status, found->site);
  if (ahead.minutes == 0) ahead = forecast_by_reading(ahead, reading_speed(*gateway, adapter));
  io.remarks() << forecast_text(ahead) << std::flush;
  const auto sent =
      send_file(*gateway, std::filesystem::path(o.file).filename().string(), *content);
  if (!sent) return io.fail(sent.failure());
  print_upload(io, *sent);
  json report = {{"site", found->site},
                 {"file", sent->file_id},
                 {"added", sent->added},
                 {"known", sent->known},
                 {"bad", sent->bad},
                 {"bad_lines", sent->bad_lines},
                 {"forecast", forecast_json(ahead)}};
  return run_job(io, o, *gateway, *head, adapter, report);
}

}  // namespace

void add_adapt(program& p) {
  verb v(p.app, "adapt", "Give a site examples of its own and train its adapter with them");
  const auto o = std::make_shared<adapt_options>();
  v.argument("file", o->file,
             R"(JSONL: {"messages": [...]} or {"prompt": ..., "completion": ...})");
  v.flag("--site", o->site, "site whose data this is; it does not leave that site");
  v.flag("--adapter", o->adapter, "adapter; may be left out where there is one");
  v.flag("--rounds", o->rounds, "rounds; left out: until nothing is gained any more");
  v.toggle("--no-wait", o->no_wait, "do not follow the job to its end");
  add_cluster_flags(v, o->cluster);
  v.runs(p.io, p.exit, [&io = p.io, o] { return adapt(io, *o); });
}

}  // namespace collm::cli
