#include "gateway/job_view.hpp"

#include "gateway/field_reader.hpp"

namespace collm::gateway {
namespace {

using json = nlohmann::ordered_json;

const char* status_of(schema::JobState state) {
  switch (state) {
    case schema::JobState::QUEUED:
      return "queued";
    case schema::JobState::RUNNING:
      return "running";
    case schema::JobState::SUCCEEDED:
      return "succeeded";
    case schema::JobState::CANCELLED:
      return "cancelled";
    default:
      return "failed";
  }
}

bool is_auto(const nlohmann::json& value) { return value.is_null() || value == "auto"; }

/// Steps, batches and rates are the manifest's, for they hold for all sites.
void refuse_hyperparameters(field_reader& fields, const nlohmann::json& given) {
  for (const char* name : {"n_epochs", "batch_size", "learning_rate_multiplier"}) {
    if (given.contains(name) && !is_auto(given[name])) {
      fields.fail(std::string("hyperparameters.") + name,
                  std::string(name) +
                      " must be \"auto\": steps, batches and rates of a federation are in the "
                      "manifest; federation.rounds bounds a job");
    }
  }
}

const nlohmann::json* object_at(const nlohmann::json& body, const char* name) {
  const auto found = body.find(name);
  return found != body.end() && found->is_object() ? &*found : nullptr;
}

void refuse_the_rest(field_reader& fields, const nlohmann::json& body) {
  if (const auto* given = object_at(body, "hyperparameters"))
    refuse_hyperparameters(fields, *given);
  if (const auto* method = object_at(body, "method")) {
    if (method->value("type", nlohmann::json("supervised")) != "supervised")
      fields.fail("method", "'method.type' must be supervised");
    if (const auto* settings = object_at(*method, "supervised")) {
      if (const auto* given = object_at(*settings, "hyperparameters"))
        refuse_hyperparameters(fields, *given);
    }
  }
  if (fields.find("validation_file") != nullptr)
    fields.fail("validation_file",
                "there is no place for a validation file: every site holds a part of its own data "
                "back");
  if (fields.find("seed") != nullptr)
    fields.fail("seed", "'seed' cannot be set: the order of samples is each site's own");
  const auto* integrations = fields.find("integrations");
  if (integrations != nullptr && !integrations->empty())
    fields.fail("integrations", "no integration is supported; leave 'integrations' out");
}

std::int64_t last_known(std::int64_t finished, std::int64_t created) {
  return finished > 0 ? finished : created;
}

json event_json(const std::string& id, int number, std::int64_t at, const char* level,
                const std::string& message) {
  json out;
  out["id"] = "ftevent-" + id + "-" + std::to_string(number);
  out["object"] = "fine_tuning.job.event";
  out["created_at"] = at;
  out["level"] = level;
  out["message"] = message;
  out["type"] = "message";
  out["data"] = json::object();
  return out;
}

}  // namespace

std::variant<job_order, api_error> parse_job(const nlohmann::json& body) {
  field_reader fields(body);
  job_order wish;
  wish.adapter = fields.string("model");
  if (wish.adapter.empty())
    fields.fail("model", "'model' must be the name of an adapter that this cluster trains");
  if (wish.adapter.find('@') != std::string::npos)
    fields.fail("model",
                "'model' must be the adapter's name alone: training goes on from the "
                "version that serves");
  wish.training_file = fields.string("training_file");
  wish.suffix = fields.string("suffix");
  refuse_the_rest(fields, body);
  if (const auto* federation = object_at(body, "federation")) {
    field_reader inner(*federation, "federation.");
    wish.rounds = static_cast<std::uint32_t>(inner.integer("rounds", 0, 0, job_rounds_max));
    if (inner.failure()) return *inner.failure();
  }
  if (fields.failure()) return *fields.failure();
  return wish;
}

json job_json(schema::Job::Reader job) {
  const bool ended = job.getFinishedUnix() > 0;
  json out;
  out["id"] = job.getId().cStr();
  out["object"] = "fine_tuning.job";
  out["created_at"] = job.getCreatedUnix();
  out["finished_at"] = ended ? json(job.getFinishedUnix()) : json(nullptr);
  out["estimated_finish"] = nullptr;
  out["model"] = job.getAdapter().cStr();
  out["fine_tuned_model"] =
      job.getPromoted() > 0
          ? json(std::string(job.getAdapter().cStr()) + "@" + std::to_string(job.getVersion()))
          : json(nullptr);
  out["organization_id"] = "collm";
  out["status"] = status_of(job.getState());
  const bool failed = job.getState() == schema::JobState::FAILED;
  out["error"] = failed ? json{{"code", "job_failed"},
                               {"message", std::string(job.getMessage().cStr())},
                               {"param", nullptr}}
                        : json(nullptr);
  const json by_manifest = {
      {"n_epochs", "auto"}, {"batch_size", "auto"}, {"learning_rate_multiplier", "auto"}};
  out["hyperparameters"] = by_manifest;
  out["method"] = {{"type", "supervised"}, {"supervised", {{"hyperparameters", by_manifest}}}};
  out["training_file"] = job.getTrainingFile().cStr();
  out["validation_file"] = nullptr;
  out["result_files"] = json::array();
  out["trained_tokens"] =
      job.getTokens() > 0 ? json(static_cast<std::int64_t>(job.getTokens())) : json(nullptr);
  out["seed"] = 0;
  out["integrations"] = json::array();
  out["metadata"] = json::object();
  out["federation"] = {{"rounds", job.getRounds()},
                       {"done", job.getDone()},
                       {"promoted", job.getPromoted()},
                       {"version", job.getVersion()}};
  return out;
}

json job_events(schema::Job::Reader job) {
  const std::string id = job.getId().cStr();
  json out = json::array();
  out.push_back(event_json(id, 0, job.getCreatedUnix(), "info", "the job was made"));
  const auto last = last_known(job.getFinishedUnix(), job.getCreatedUnix());
  if (job.getDone() > 0) {
    out.push_back(event_json(id, 1, last, "info",
                             std::to_string(job.getDone()) + " rounds have ended, " +
                                 std::to_string(job.getPromoted()) + " versions went live"));
  }
  if (job.getFinishedUnix() > 0) {
    const bool failed = job.getState() == schema::JobState::FAILED;
    const std::string why = job.getMessage().cStr();
    out.push_back(event_json(
        id, 2, last, failed ? "error" : "info",
        std::string("the job ") + status_of(job.getState()) + (why.empty() ? "" : ": " + why)));
  }
  return out;
}

}  // namespace collm::gateway
