// Who may take part in the cluster: POST /admin/v1/nodes/…, on the head.
#include "gateway/handler_tools.hpp"
#include "gateway/nodes_port.hpp"
#include "gateway/routes.hpp"

namespace collm::gateway {
namespace {

constexpr std::int64_t token_lives_max_s = 24 * 3600;

/// Null after an answer that says that this is not the head.
nodes_port* nodes_of(http_context& context, const exchange_ptr& x) {
  auto* nodes = context.runtime.nodes();
  if (nodes == nullptr) {
    x->fail(api_error::of(
        {errc::bad_request, "nodes join, and are revoked, at the head's gateway; ask there", 0}));
    return nullptr;
  }
  x->reply_within(context.options.timeouts.reply);
  return nodes;
}

/// The body's "node"; nothing after an answer that says what is wrong.
std::optional<std::string> node_named(http_context& context, exchange& x) {
  const auto body = body_object(context, x);
  if (!body) return std::nullopt;
  field_reader fields(*body);
  auto node = required(fields, "node");
  if (!fields.failure()) return node;
  x.fail(*fields.failure());
  return std::nullopt;
}

void reply_done(exchange& x, const result<void>& done) {
  if (!done) return x.fail(failure_with(done.failure(), "node_not_found"));
  x.reply(json_response(R"({"status":"ok"})"));
}

}  // namespace

void handlers::join_token(http_context& context, const exchange_ptr& x) {
  auto* nodes = nodes_of(context, x);
  if (nodes == nullptr) return;
  const auto body = body_object(context, *x);
  if (!body) return;
  field_reader fields(*body);
  const auto node = required(fields, "node");
  const auto lives_s = fields.integer("ttl_s", 600, 1, token_lives_max_s);
  if (fields.failure()) return x->fail(*fields.failure());
  nodes->join_token(
      node, static_cast<std::uint32_t>(lives_s),
      back_on_io(context, x, [node, lives_s](exchange& to, const result<std::string>& token) {
        if (!token) return to.fail(failure_with(token.failure(), "node_not_found"));
        ordered_json out;
        out["node"] = node;
        out["expires_in_s"] = lives_s;
        out["token"] = *token;
        to.reply(json_response(dumped(out)));
      }));
}

void handlers::revoke_node(http_context& context, const exchange_ptr& x) {
  auto* nodes = nodes_of(context, x);
  if (nodes == nullptr) return;
  if (const auto node = node_named(context, *x))
    nodes->revoke(*node, back_on_io(context, x, reply_done));
}

void handlers::rotate_node(http_context& context, const exchange_ptr& x) {
  auto* nodes = nodes_of(context, x);
  if (nodes == nullptr) return;
  if (const auto node = node_named(context, *x))
    nodes->rotate(*node, back_on_io(context, x, reply_done));
}

}  // namespace collm::gateway
