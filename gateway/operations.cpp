// Everything but completions: probes, models, adapters, admin, the page.
#include <algorithm>
#include <charconv>
#include <chrono>

#include "gateway/event_feed.hpp"
#include "gateway/handler_tools.hpp"
#include "gateway/routes.hpp"
#include "gateway/schema_json.hpp"
#include "messages/limits.hpp"

namespace collm::gateway {
namespace {

using json = ordered_json;

constexpr std::uint64_t audit_lines_max = 10'000;

json model_json(const model_row& row) {
  json out;
  out["id"] = row.id;
  out["object"] = "model";
  out["created"] = row.created;
  out["owned_by"] = "collm";
  out["root"] = row.root;
  out["parent"] = row.parent.empty() ? json(nullptr) : json(row.parent);
  return out;
}

/// A failed load is the caller's to mend (4xx), even where the system could not read what was
/// named.
api_error load_failure(const error& failure) {
  auto out = api_error::of(failure);
  if (failure.code == errc::io) out.condition = condition_of(errc::corrupt);
  if (failure.code == errc::not_found) out.condition.code = "adapter_not_found";
  return out;
}

void reply_record(exchange& x, const result<msg<schema::VersionRecord>>& record) {
  if (!record) return x.fail(load_failure(record.failure()));
  x.reply(json_response(to_json(*record->read())));
}

void reply_done(exchange& x, const result<void>& done) {
  if (!done) return x.fail(api_error::of(done.failure()));
  x.reply(json_response(R"({"status":"ok"})"));
}

const asset* find_asset(http_context& context, std::string_view path) {
  const auto& assets = context.options.assets;
  const auto it =
      std::find_if(assets.begin(), assets.end(), [&](const asset& a) { return a.path == path; });
  return it == assets.end() ? nullptr : &*it;
}

void redirect(exchange& x, const char* to) {
  http_response out;
  out.status = 302;
  out.content_type = "text/plain; charset=utf-8";
  out.headers.emplace_back("location", to);
  x.reply(std::move(out));
}

/// A line of the trail; one that was cut or changed must not hide the others, nor vanish.
std::string audit_row(const std::string& line) {
  if (json::accept(line)) return line;
  json out;
  out["outcome"] = "damaged line";
  out["asked"] = line.substr(0, admin_act::asked_bytes_max);
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

// -- probes

void handlers::health(http_context& context, const exchange_ptr& x) {
  if (context.runtime.healthy()) return x->reply(json_response(R"({"status":"ok"})"));
  x->fail(api_error::of({errc::unavailable, context.runtime.health_text(), 0}));
}

void handlers::ready(http_context& context, const exchange_ptr& x) {
  if (context.runtime.ready()) return x->reply(json_response(R"({"status":"ready"})"));
  x->fail(api_error::of(not_ready(context.runtime)));
}

void handlers::version(http_context& context, const exchange_ptr& x) {
  json out;
  out["version"] = context.options.version;
  x->reply(json_response(dumped(out)));
}

void handlers::metrics(http_context& context, const exchange_ptr& x) {
  x->reply_within(context.options.timeouts.reply);
  const auto own = [&counters = context.counters] {
    return "# HELP collm_gateway_connections Open HTTP connections.\n# TYPE "
           "collm_gateway_connections gauge\n"
           "collm_gateway_connections " +
           std::to_string(counters.connections_open.load()) +
           "\n# HELP collm_gateway_connections_refused_total Connections turned away because the "
           "limit was reached.\n"
           "# TYPE collm_gateway_connections_refused_total "
           "counter\ncollm_gateway_connections_refused_total " +
           std::to_string(counters.connections_refused.load()) +
           "\n# HELP collm_gateway_connections_evicted_total Idle connections closed for a new "
           "one.\n"
           "# TYPE collm_gateway_connections_evicted_total "
           "counter\ncollm_gateway_connections_evicted_total " +
           std::to_string(counters.connections_evicted.load()) +
           "\n# HELP collm_gateway_http_requests_total HTTP requests whose header was read.\n"
           "# TYPE collm_gateway_http_requests_total counter\ncollm_gateway_http_requests_total " +
           std::to_string(counters.requests.load()) +
           "\n# HELP collm_gateway_internal_errors_total Exceptions that ended a request or a "
           "connection.\n"
           "# TYPE collm_gateway_internal_errors_total "
           "counter\ncollm_gateway_internal_errors_total " +
           std::to_string(counters.internal_errors.load()) + "\n";
  };
  context.runtime.metrics(back_on_io(context, x, [own](exchange& to, const std::string& text) {
    http_response out;
    out.content_type = "text/plain; version=0.0.4; charset=utf-8";
    out.body = text + (text.empty() || text.ends_with('\n') ? "" : "\n") + own();
    to.reply(std::move(out));
  }));
}

// -- models

void handlers::models(http_context& context, const exchange_ptr& x) {
  x->reply_within(context.options.timeouts.reply);
  context.runtime.models(
      back_on_io(context, x, [](exchange& to, const std::vector<model_row>& rows) {
        json out;
        out["object"] = "list";
        out["data"] = json::array();
        for (const auto& row : rows) out["data"].push_back(model_json(row));
        to.reply(json_response(dumped(out)));
      }));
}

void handlers::model(http_context& context, const exchange_ptr& x) {
  x->reply_within(context.options.timeouts.reply);
  const std::string id = x->request.path.substr(std::string_view("/v1/models/").size());
  context.runtime.models(
      back_on_io(context, x, [id](exchange& to, const std::vector<model_row>& rows) {
        const auto it =
            std::find_if(rows.begin(), rows.end(), [&](const model_row& r) { return r.id == id; });
        if (it != rows.end()) return to.reply(json_response(dumped(model_json(*it))));
        auto failure = api_error::of(
            {errc::not_found, "there is no model '" + id + "'; GET /v1/models lists them", 0});
        failure.param = "model";
        to.fail(failure);
      }));
}

void handlers::load_adapter(http_context& context, const exchange_ptr& x) {
  const auto body = body_object(context, *x);
  if (!body) return;
  field_reader fields(*body);
  const auto name = required(fields, "lora_name"), folder = required(fields, "lora_path");
  if (fields.failure()) return x->fail(*fields.failure());
  x->reply_within(context.options.timeouts.load);
  context.runtime.load_adapter(name, folder, back_on_io(context, x, reply_record));
}

void handlers::unload_adapter(http_context& context, const exchange_ptr& x) {
  const auto body = body_object(context, *x);
  if (!body) return;
  field_reader fields(*body);
  const auto name = required(fields, "lora_name");
  if (fields.failure()) return x->fail(*fields.failure());
  x->reply_within(context.options.timeouts.load);
  context.runtime.unload_adapter(name, back_on_io(context, x, reply_record));
}

// -- admin

void handlers::status(http_context& context, const exchange_ptr& x) {
  x->reply_within(context.options.timeouts.reply);
  context.runtime.status(
      back_on_io(context, x, [](exchange& to, const msg<schema::ClusterStatus>& status) {
        to.reply(json_response(to_json(*status.read())));
      }));
}

void handlers::events(http_context& context, const exchange_ptr& x) {
  const auto* last = x->request.header("last-event-id");
  const auto text = last != nullptr ? *last : x->request.parameter("after").value_or("0");
  std::uint32_t after = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), after);
  if (ec != std::errc{} || end != text.data() + text.size()) {
    return x->fail(api_error::bad(
        "after", "'after' (or Last-Event-ID) must be the seq of an event, not '" + text + "'"));
  }
  context.events->subscribe(x, after);
}

void handlers::drain(http_context& context, const exchange_ptr& x) {
  const auto body = body_object(context, *x);
  if (!body) return;
  field_reader fields(*body);
  const auto node = fields.string("node");
  const bool again = fields.boolean("restart", false);
  const std::chrono::milliseconds deadline{
      fields.integer("deadline_ms", drain_deadline_ms, 0, drain_deadline_ms_max)};
  if (fields.failure()) return x->fail(*fields.failure());
  x->reply_within(context.options.timeouts.load + deadline);
  context.runtime.drain(node, again, deadline, back_on_io(context, x, reply_done));
}

void handlers::shutdown(http_context& context, const exchange_ptr& x) {
  x->reply_within(context.options.timeouts.reply);
  context.runtime.shutdown(back_on_io(context, x, reply_done));
}

void handlers::audit(http_context& context, const exchange_ptr& x) {
  const auto limit = query_number(*x, "limit", 100, audit_lines_max);
  if (!limit) return;
  std::string out = R"({"object":"list","data":[)";
  const char* separator = "";
  if (context.options.audit) {
    for (const auto& line : context.options.audit->last(*limit)) {
      out += separator + audit_row(line);
      separator = ",";
    }
  }
  x->reply(json_response(out + "]}"));
}

// -- the page

void handlers::dashboard(http_context& context, const exchange_ptr& x) {
  if (x->request.path == "/dashboard") return redirect(*x, "/dashboard/");
  auto path = x->request.path.substr(std::string_view("/dashboard/").size());
  if (path.empty()) path = "index.html";
  const asset* found = find_asset(context, path);
  if (found == nullptr) {
    return x->fail(
        {condition::unknown_url, "there is no page " + x->request.path + " here", {}, 0});
  }
  http_response out;
  out.content_type = found->content_type;
  out.body = found->bytes;
  // The page loads nothing from elsewhere and nobody may frame it. Styles are set from script,
  // hence unsafe-inline for them.
  out.headers.emplace_back("content-security-policy",
                           "default-src 'none'; script-src 'self'; style-src 'self' "
                           "'unsafe-inline'; img-src 'self' data:; "
                           "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action "
                           "'none'; frame-ancestors 'none'");
  out.headers.emplace_back("x-content-type-options", "nosniff");
  out.headers.emplace_back("referrer-policy", "no-referrer");
  out.headers.emplace_back("cache-control", "no-cache");
  x->reply(std::move(out));
}

void handlers::root(http_context& context, const exchange_ptr& x) {
  if (context.options.role == gateway_role::head) return redirect(*x, "/dashboard/");
  x->fail({condition::unknown_url,
           "this is a node's gateway; the API is under /v1, the page on the head",
           {},
           0});
}

}  // namespace collm::gateway
