// Jobs under /v1/fine_tuning, and what operators ask of rounds and versions under /admin/v1.
#include <algorithm>
#include <functional>

#include "gateway/federation_port.hpp"
#include "gateway/handler_tools.hpp"
#include "gateway/job_view.hpp"
#include "gateway/routes.hpp"
#include "gateway/schema_json.hpp"
#include "gateway/site_port.hpp"

namespace collm::gateway {
namespace {

constexpr std::string_view jobs_path = "/v1/fine_tuning/jobs/";
constexpr std::string_view admin_jobs_path = "/admin/v1/jobs/";
constexpr std::string_view cancel_end = "/cancel";
constexpr std::string_view events_end = "/events";
constexpr std::uint32_t jobs_listed_max = 100;

/// What trains here, or null after an answer that says that nothing does.
federation_port* federation_of(http_context& context, const exchange_ptr& x) {
  auto* federation = context.runtime.federation();
  if (federation == nullptr) {
    x->fail(api_error::of(
        {errc::bad_request, "this cluster trains nothing: its manifest has no federation", 0}));
    return nullptr;
  }
  x->reply_within(context.options.timeouts.reply);
  return federation;
}

/// Answers with what Cap'n Proto's own mapping makes of the value.
template <class T>
auto reply_schema(http_context& context, const exchange_ptr& x) {
  return back_on_io(context, x, [](exchange& to, const result<msg<T>>& found) {
    if (!found) return to.fail(failure_with(found.failure(), "not_found"));
    to.reply(json_response(to_json(*found->read())));
  });
}

auto reply_job(http_context& context, const exchange_ptr& x) {
  return back_on_io(context, x, [](exchange& to, const result<msg<schema::Job>>& job) {
    if (!job) return to.fail(failure_with(job.failure(), "job_not_found"));
    to.reply(json_response(dumped(job_json(*job->read()))));
  });
}

/// A tenant has its own jobs; whoever operates the cluster has all.
bool may_see(const caller& who, schema::Job::Reader job) {
  return who.tenant.empty() || who.tenant == job.getOwner().cStr();
}

/// Newest first, from behind `after`, as OpenAI pages.
ordered_json job_page(schema::JobList::Reader list, const caller& who, const std::string& after,
                      std::uint64_t limit) {
  std::vector<schema::Job::Reader> jobs;
  for (const auto job : list.getJobs())
    if (may_see(who, job)) jobs.push_back(job);
  std::reverse(jobs.begin(), jobs.end());
  auto from = jobs.begin();
  if (!after.empty()) {
    from =
        std::find_if(jobs.begin(), jobs.end(), [&](auto j) { return after == j.getId().cStr(); });
    if (from != jobs.end()) ++from;
  }
  const auto rest = static_cast<std::uint64_t>(jobs.end() - from);
  ordered_json out;
  out["object"] = "list";
  out["data"] = ordered_json::array();
  for (auto job = from; job != from + static_cast<std::ptrdiff_t>(std::min(rest, limit)); ++job)
    out["data"].push_back(job_json(*job));
  out["has_more"] = rest > limit;
  return out;
}

using on_job = std::function<void(exchange&, schema::Job::Reader)>;

/// Finds one job among the caller's and answers with what `say` makes of it.
void with_job(http_context& context, const exchange_ptr& x, const std::string& id,
              const on_job& say) {
  auto* federation = federation_of(context, x);
  if (federation == nullptr) return;
  federation->jobs(
      back_on_io(context, x, [id, say](exchange& to, const result<msg<schema::JobList>>& list) {
        if (!list) return to.fail(api_error::of(list.failure()));
        const auto view = list->read();
        for (const auto job : view->getJobs()) {
          if (id == job.getId().cStr() && may_see(to.who, job)) return say(to, job);
        }
        to.fail(
            failure_with({errc::not_found, "there is no job '" + id + "'", 0}, "job_not_found"));
      }));
}

using job_reply = federation_port::reply<msg<schema::Job>>;

/// A node knows its own files: a job of one that it lacks is refused before the head hears of it.
void create(http_context& context, const exchange_ptr& x, const job_reply& to) {
  auto* federation = federation_of(context, x);
  if (federation == nullptr) return;
  const auto body = body_object(context, *x);
  if (!body) return;
  const auto parsed = parse_job(*body);
  if (const auto* failure = std::get_if<api_error>(&parsed)) return x->fail(*failure);
  auto order = std::get<job_order>(parsed);
  order.owner = x->who.tenant;
  auto* site = context.runtime.site_store();
  if (site == nullptr || order.training_file.empty()) return federation->create_job(order, to);
  site->files(back_on_io(
      context, x, [federation, order, to](exchange& from, const std::vector<site_file>& files) {
        const bool known = std::any_of(files.begin(), files.end(), [&](const site_file& f) {
          return f.id == order.training_file;
        });
        if (known) return federation->create_job(order, to);
        from.fail(api_error::bad("training_file", "there is no file '" + order.training_file +
                                                      "' at this site; POST /v1/files takes it"));
      }));
}

/// "ftjob-1" of "/v1/fine_tuning/jobs/ftjob-1/cancel"; empty: the path ends otherwise.
std::string job_named(const exchange& x, std::string_view before, std::string_view end) {
  std::string_view path = x.request.path;
  path.remove_prefix(before.size());
  if (!path.ends_with(end)) return {};
  return std::string(path.substr(0, path.size() - end.size()));
}

void no_such_path(const exchange_ptr& x) {
  x->fail({condition::unknown_url,
           "there is no " + x->request.method + " " + x->request.path + " here",
           {},
           0});
}

}  // namespace

// -- jobs, as OpenAI's clients know them

void handlers::create_job(http_context& context, const exchange_ptr& x) {
  create(context, x, reply_job(context, x));
}

void handlers::jobs(http_context& context, const exchange_ptr& x) {
  const auto limit = query_number(*x, "limit", 20, jobs_listed_max);
  if (!limit) return;
  auto* federation = federation_of(context, x);
  if (federation == nullptr) return;
  const auto after = x->request.parameter("after").value_or("");
  federation->jobs(back_on_io(
      context, x, [after, limit](exchange& to, const result<msg<schema::JobList>>& list) {
        if (!list) return to.fail(api_error::of(list.failure()));
        to.reply(json_response(dumped(job_page(*list->read(), to.who, after, *limit))));
      }));
}

void handlers::job(http_context& context, const exchange_ptr& x) {
  if (const auto id = job_named(*x, jobs_path, events_end); !id.empty()) {
    return with_job(context, x, id, [](exchange& to, schema::Job::Reader job) {
      auto events = job_events(job);
      std::reverse(events.begin(), events.end());  // newest first
      to.reply(json_response(
          dumped({{"object", "list"}, {"data", std::move(events)}, {"has_more", false}})));
    });
  }
  with_job(context, x, job_named(*x, jobs_path, ""), [](exchange& to, schema::Job::Reader job) {
    to.reply(json_response(dumped(job_json(job))));
  });
}

void handlers::cancel_job(http_context& context, const exchange_ptr& x) {
  const auto id = job_named(*x, jobs_path, cancel_end);
  if (id.empty()) return no_such_path(x);
  with_job(context, x, id,
           [federation = context.runtime.federation(), id, to = reply_job(context, x)](
               exchange&, schema::Job::Reader) { federation->cancel_job(id, to); });
}

// -- the same for operators, as the schema has them

void handlers::admin_create_job(http_context& context, const exchange_ptr& x) {
  create(context, x, reply_schema<schema::Job>(context, x));
}

void handlers::admin_jobs(http_context& context, const exchange_ptr& x) {
  if (auto* federation = federation_of(context, x))
    federation->jobs(reply_schema<schema::JobList>(context, x));
}

void handlers::admin_cancel_job(http_context& context, const exchange_ptr& x) {
  const auto id = job_named(*x, admin_jobs_path, cancel_end);
  if (id.empty()) return no_such_path(x);
  if (auto* federation = federation_of(context, x))
    federation->cancel_job(id, reply_schema<schema::Job>(context, x));
}

// -- rounds and versions

void handlers::rounds(http_context& context, const exchange_ptr& x) {
  if (auto* federation = federation_of(context, x)) {
    federation->rounds(x->request.parameter("adapter").value_or(""),
                       reply_schema<schema::RoundList>(context, x));
  }
}

void handlers::explain(http_context& context, const exchange_ptr& x) {
  const auto number = query_number(*x, "version", 0, UINT32_MAX);
  if (!number) return;
  if (auto* federation = federation_of(context, x)) {
    federation->explain(
        {x->request.parameter("adapter").value_or(""), static_cast<std::uint32_t>(*number)},
        reply_schema<schema::Explanation>(context, x));
  }
}

void handlers::replay(http_context& context, const exchange_ptr& x) {
  const auto body = body_object(context, *x);
  if (!body) return;
  field_reader fields(*body);
  const auto adapter = fields.string("adapter"), without = required(fields, "without");
  const auto round = fields.integer("round", 0, 1, UINT32_MAX);
  if (round == 0) fields.fail("round", "'round' must be the number of a round");
  if (fields.failure()) return x->fail(*fields.failure());
  auto* federation = federation_of(context, x);
  if (federation == nullptr) return;
  x->reply_within(context.options.timeouts.load);  // it sums anew
  federation->replay(adapter, static_cast<std::uint32_t>(round), without,
                     reply_schema<schema::Replay>(context, x));
}

void handlers::close_round(http_context& context, const exchange_ptr& x) {
  const auto body = body_object(context, *x);
  if (!body) return;
  field_reader fields(*body);
  const auto adapter = fields.string("adapter");
  if (fields.failure()) return x->fail(*fields.failure());
  auto* federation = federation_of(context, x);
  if (federation == nullptr) return;
  federation->close_round(adapter, "operator",
                          back_on_io(context, x, [](exchange& to, const result<void>& done) {
                            if (!done) return to.fail(failure_with(done.failure(), "not_found"));
                            to.reply(json_response(R"({"status":"ok"})"));
                          }));
}

void handlers::rollback(http_context& context, const exchange_ptr& x) {
  const auto body = body_object(context, *x);
  if (!body) return;
  field_reader fields(*body);
  const auto adapter = required(fields, "adapter");
  if (fields.failure()) return x->fail(*fields.failure());
  if (auto* federation = federation_of(context, x))
    federation->rollback(adapter, reply_schema<schema::VersionRecord>(context, x));
}

/// Raw factors: the bytes as the body, what they belong to in headers.
void handlers::factors(http_context& context, const exchange_ptr& x) {
  const auto number = query_number(*x, "version", 0, UINT32_MAX);
  const auto at = number ? query_number(*x, "at", 0, UINT64_MAX) : std::nullopt;
  const auto count = at ? query_number(*x, "count", context.options.bounds.chunk_bytes_max,
                                       context.options.bounds.chunk_bytes_max)
                        : std::nullopt;
  if (!count) return;
  auto* federation = federation_of(context, x);
  if (federation == nullptr) return;
  federation->factors(
      {x->request.parameter("adapter").value_or(""), static_cast<std::uint32_t>(*number)}, *at,
      static_cast<std::uint32_t>(*count),
      back_on_io(context, x, [](exchange& to, const result<msg<schema::FactorsChunk>>& chunk) {
        if (!chunk) return to.fail(failure_with(chunk.failure(), "not_found"));
        const auto view = chunk->read();
        const auto data = view->getData();
        http_response out;
        out.content_type = "application/octet-stream";
        out.headers.emplace_back("x-collm-digest", view->getDigest().cStr());
        out.headers.emplace_back("x-collm-total", std::to_string(view->getTotal()));
        out.body.assign(data.asChars().begin(), data.size());
        to.reply(std::move(out));
      }));
}

}  // namespace collm::gateway
