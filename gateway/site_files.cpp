// POST /v1/feedback and /v1/files: what a site learns from. Answered by the gateways of a site's
// nodes; the head has none of it and says where to go.
#include <algorithm>

#include "gateway/handler_tools.hpp"
#include "gateway/multipart.hpp"
#include "gateway/routes.hpp"
#include "gateway/site_port.hpp"

namespace collm::gateway {
namespace {

constexpr std::string_view files_path = "/v1/files/";
constexpr std::size_t file_name_bytes_max = 256;

/// The gateways that take what the head refuses: "kitchen http://127.0.0.1:8081, …".
std::string site_gateways(schema::ClusterStatus::Reader status) {
  std::string out;
  for (const auto node : status.getNodes()) {
    const auto at = node.getSnapshot().getHttpAddress();
    if (at.size() == 0) continue;
    const std::string address = at.cStr();
    out += (out.empty() ? "" : ", ") + std::string(node.getSite().cStr()) + " " +
           (address.starts_with("http") ? address : "http://" + address);
  }
  return out.empty() ? "none is connected now" : out;
}

void refuse_at_head(http_context& context, const exchange_ptr& x) {
  x->reply_within(context.options.timeouts.reply);
  context.runtime.status(
      back_on_io(context, x, [](exchange& to, const msg<schema::ClusterStatus>& status) {
        to.fail(api_error::of({errc::forbidden,
                               "a site's data stays at the site, so the head takes none; send it "
                               "to the gateway of a site's node: " +
                                   site_gateways(*status.read()),
                               0}));
      }));
}

/// The site's store, or null after an answer that says why not.
site_port* store_of(http_context& context, const exchange_ptr& x) {
  if (context.options.role == gateway_role::head) return refuse_at_head(context, x), nullptr;
  auto* site = context.runtime.site_store();
  if (site == nullptr) {
    x->fail(api_error::of({errc::bad_request,
                           "this node has no store for examples: the manifest gives it no data and "
                           "trains no adapter here",
                           0}));
    return nullptr;
  }
  if (!x->who.site.empty() && x->who.site != site->site()) {
    x->fail(api_error::of(
        {errc::forbidden,
         "this key's data stays in site " + x->who.site + "; this gateway is of " + site->site(),
         0}));
    return nullptr;
  }
  return site;
}

ordered_json file_json(const site_file& file) {
  ordered_json out;
  out["id"] = file.id;
  out["object"] = "file";
  out["bytes"] = file.bytes;
  out["created_at"] = file.created;
  out["filename"] = file.name;
  out["purpose"] = "fine-tune";
  out["status"] = "processed";
  auto& lines = out["lines"];  // ours
  lines["added"] = file.added;
  lines["known"] = file.known;
  lines["bad"] = file.bad;
  if (!file.sets.empty()) {
    for (const auto& [set, rows] : file.sets) lines["sets"][set] = rows;
  }
  if (file.bad > 0 && !file.first_bad.empty()) {
    lines["first_bad"] = ordered_json::array();
    for (const auto& one : file.first_bad)
      lines["first_bad"].push_back({{"line", one.line}, {"reason", one.reason}});
  }
  return out;
}

api_error no_file(const std::string& id) {
  auto out = failure_with({errc::not_found, "there is no file '" + id + "' at this site", 0},
                          "file_not_found");
  out.param = "file_id";
  return out;
}

/// A name that can stand in JSON, a header and a list.
std::string clean_name(const std::string& name) {
  std::string out = name.substr(0, file_name_bytes_max);
  std::replace_if(
      out.begin(), out.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '_');
  return out;
}

struct upload {
  std::string name, text;
};

/// What is wrong with the form is told to the client.
std::optional<upload> upload_of(exchange& x) {
  const auto* type = x.request.header("content-type");
  const auto parts = parse_form(type == nullptr ? "" : *type, x.request.body);
  const auto bad = [&x](const char* param, const std::string& message) {
    x.fail(api_error::bad(param, message));
    return std::nullopt;
  };
  if (!parts) return x.fail(api_error::of(parts.failure())), std::nullopt;
  std::string purpose;
  const form_part* file = nullptr;
  for (const auto& part : *parts) {
    if (part.name == "purpose") purpose = std::string(part.content);
    if (part.name == "file") file = &part;
    if (part.name.starts_with("expires_after"))
      return bad("expires_after", "files do not expire here; delete them");
  }
  if (purpose != "fine-tune") return bad("purpose", "'purpose' must be fine-tune");
  if (file == nullptr || file->content.empty())
    return bad("file", "'file' must be a JSONL file that is not empty");
  return upload{clean_name(file->file_name.empty() ? "upload.jsonl" : file->file_name),
                std::string(file->content)};
}

/// Which answer is meant: its `id`, under either name.
std::string answer_id(field_reader& fields) {
  const auto by_request = fields.string("request_id"), by_id = fields.string("id");
  if (by_request.empty() == by_id.empty())
    fields.fail("request_id",
                "'request_id' must be the id of an answer, such as \"chatcmpl-…\" (or give 'id')");
  return by_request.empty() ? by_id : by_request;
}

}  // namespace

void handlers::feedback(http_context& context, const exchange_ptr& x) {
  auto* site = store_of(context, x);
  if (site == nullptr) return;
  const auto body = body_object(context, *x);
  if (!body) return;
  field_reader fields(*body);
  const auto id = answer_id(fields);
  const auto* given = fields.find("answer");
  // A text, with line breaks: what field_reader takes for names would refuse it.
  const bool usable = given != nullptr && given->is_string() &&
                      !given->get_ref<const std::string&>().empty() &&
                      given->get_ref<const std::string&>().find('\0') == std::string::npos;
  if (!usable) fields.fail("answer", "'answer' must be the right answer, a text that is not empty");
  if (fields.failure()) return x->fail(*fields.failure());
  x->reply_within(context.options.timeouts.reply);
  site->feedback(id, x->who.tenant, given->get<std::string>(),
                 back_on_io(context, x, [id](exchange& to, const result<std::string>& set) {
                   if (!set) {
                     auto failure = failure_with(set.failure(), "request_not_found");
                     failure.param = "request_id";
                     return to.fail(failure);
                   }
                   to.reply(json_response(
                       dumped({{"object", "feedback"}, {"request_id", id}, {"set", *set}})));
                 }));
}

void handlers::upload_file(http_context& context, const exchange_ptr& x) {
  auto* site = store_of(context, x);
  if (site == nullptr) return;
  auto sent = upload_of(*x);
  if (!sent) return;
  x->reply_within(context.options.timeouts.load);
  site->add_file(std::move(sent->name), std::move(sent->text),
                 back_on_io(context, x, [](exchange& to, const result<site_file>& file) {
                   if (file) return to.reply(json_response(dumped(file_json(*file))));
                   auto failure = api_error::of(file.failure());
                   failure.param = "file";
                   to.fail(failure);
                 }));
}

void handlers::files(http_context& context, const exchange_ptr& x) {
  auto* site = store_of(context, x);
  if (site == nullptr) return;
  x->reply_within(context.options.timeouts.reply);
  site->files(back_on_io(context, x, [](exchange& to, const std::vector<site_file>& files) {
    ordered_json out;
    out["object"] = "list";
    out["data"] = ordered_json::array();
    for (auto file = files.rbegin(); file != files.rend(); ++file)  // newest first, as OpenAI's
      out["data"].push_back(file_json(*file));
    out["first_id"] = files.empty() ? ordered_json(nullptr) : ordered_json(files.back().id);
    out["last_id"] = files.empty() ? ordered_json(nullptr) : ordered_json(files.front().id);
    out["has_more"] = false;
    to.reply(json_response(dumped(out)));
  }));
}

void handlers::file(http_context& context, const exchange_ptr& x) {
  auto* site = store_of(context, x);
  if (site == nullptr) return;
  const std::string id = x->request.path.substr(files_path.size());
  if (id.ends_with("/content")) {
    return x->fail(failure_with({errc::not_found,
                                 "the text of a file is not kept: its lines are rows of the site's "
                                 "store",
                                 0},
                                "file_content_not_kept"));
  }
  x->reply_within(context.options.timeouts.reply);
  site->files(back_on_io(context, x, [id](exchange& to, const std::vector<site_file>& files) {
    const auto found =
        std::find_if(files.begin(), files.end(), [&](const site_file& f) { return f.id == id; });
    if (found == files.end()) return to.fail(no_file(id));
    to.reply(json_response(dumped(file_json(*found))));
  }));
}

void handlers::delete_file(http_context& context, const exchange_ptr& x) {
  auto* site = store_of(context, x);
  if (site == nullptr) return;
  const std::string id = x->request.path.substr(files_path.size());
  x->reply_within(context.options.timeouts.reply);
  site->remove_file(
      id, back_on_io(context, x, [id](exchange& to, const result<void>& removed) {
        if (!removed && removed.failure().code == errc::not_found) return to.fail(no_file(id));
        if (!removed) return to.fail(api_error::of(removed.failure()));
        // Rows that were learnt from stay what they are: said, not hidden.
        to.reply(json_response(
            dumped({{"id", id}, {"object", "file"}, {"deleted", true}, {"rows_kept", true}})));
      }));
}

}  // namespace collm::gateway
