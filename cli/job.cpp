#include "cli/cluster_client.hpp"
#include "cli/training_view.hpp"
#include "cli/verbs.hpp"

#include <ostream>

namespace collm::cli {
namespace {

struct job_options {
  cluster_flags cluster;
  std::string id, adapter;
  std::uint32_t rounds = 0;
};
using options_ptr = std::shared_ptr<job_options>;

int shown(console& io, const result<json>& job) {
  if (!job) return io.fail(job.failure());
  if (io.wants_json()) return io.print(*job), success;
  io.out() << job_text(*job);
  return success;
}

int create(console& io, const job_options& o) {
  const auto cluster = cluster_client::connect(o.cluster);
  if (!cluster) return io.fail(cluster.failure());
  json body = {{"model", o.adapter}};
  if (o.rounds > 0) body["federation"] = {{"rounds", o.rounds}};
  return shown(io, cluster->post("/admin/v1/jobs", body));
}

int list(console& io, const job_options& o) {
  const auto cluster = cluster_client::connect(o.cluster);
  if (!cluster) return io.fail(cluster.failure());
  const auto jobs = cluster->get("/admin/v1/jobs");
  if (!jobs) return io.fail(jobs.failure());
  if (io.wants_json()) return io.print(*jobs), success;
  io.out() << jobs_text(*jobs);
  return success;
}

int show(console& io, const job_options& o) {
  const auto cluster = cluster_client::connect(o.cluster);
  if (!cluster) return io.fail(cluster.failure());
  const auto jobs = cluster->get("/admin/v1/jobs");
  if (!jobs) return io.fail(jobs.failure());
  const json* job = find_job(*jobs, o.id);
  if (job == nullptr)
    return io.fail({errc::not_found, "there is no job " + o.id + "; collm job list shows them"});
  return shown(io, *job);
}

int cancel(console& io, const job_options& o) {
  const auto cluster = cluster_client::connect(o.cluster);
  if (!cluster) return io.fail(cluster.failure());
  return shown(io, cluster->post("/admin/v1/jobs/" + o.id + "/cancel", json::object()));
}

}  // namespace

void add_job(program& p) {
  CLI::App* parent =
      p.app.add_subcommand("job", "Jobs: federated training of an adapter over its sites");
  parent->require_subcommand(1);
  const auto o = std::make_shared<job_options>();
  auto& io = p.io;
  const auto action = [&](const char* name, const char* says, auto body, bool of_one) {
    verb v(*parent, name, says);
    if (of_one) v.argument("id", o->id, "job, as job list shows it");
    add_cluster_flags(v, o->cluster);
    v.runs(io, p.exit, [&io, o, body] { return body(io, *o); });
  };
  verb made(*parent, "create", "Train an adapter over all sites that hold it");
  made.argument("adapter", o->adapter, "adapter name");
  made.flag("--rounds", o->rounds, "rounds; left out: until nothing is gained any more");
  add_cluster_flags(made, o->cluster);
  made.runs(io, p.exit, [&io, o] { return create(io, *o); });
  action("list", "List jobs, oldest first", list, false);
  action("show", "Show one job", show, true);
  action("cancel", "Cancel a job; versions that went live stay", cancel, true);
}

}  // namespace collm::cli
