// Which handler answers which method and path, and whether the caller may. Asio thread only.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gateway/exchange.hpp"
#include "gateway/http_context.hpp"

namespace collm::gateway {

using handler = void (*)(http_context&, const exchange_ptr&);

/// The decision on a request's header, before its body is read.
struct admission {
  handler run = nullptr;  ///< null: refused
  std::optional<http_response> refusal;
  caller who;
  bool admin_act = false;  ///< admitted, and changes something or hands out weights
  std::vector<std::pair<std::string, std::string>> headers;  ///< for the response, whatever it is
};

admission admit(http_context& context, const http_request& request);

/// "METHOD path" of every route, a '*' for any rest: whoever adds one states who may use it.
std::vector<std::string> route_names();

/// Why no request is admitted now, while the runtime is not ready.
error not_ready(const port& runtime);

// -- handlers, by file
namespace handlers {
// completions.cpp
void completions(http_context&, const exchange_ptr&);
void chat_completions(http_context&, const exchange_ptr&);
// operations.cpp
void health(http_context&, const exchange_ptr&);
void ready(http_context&, const exchange_ptr&);
void version(http_context&, const exchange_ptr&);
void metrics(http_context&, const exchange_ptr&);
void models(http_context&, const exchange_ptr&);
void model(http_context&, const exchange_ptr&);
void load_adapter(http_context&, const exchange_ptr&);
void unload_adapter(http_context&, const exchange_ptr&);
void status(http_context&, const exchange_ptr&);
void events(http_context&, const exchange_ptr&);
void drain(http_context&, const exchange_ptr&);
void shutdown(http_context&, const exchange_ptr&);
void audit(http_context&, const exchange_ptr&);
void dashboard(http_context&, const exchange_ptr&);
void root(http_context&, const exchange_ptr&);
// node_handlers.cpp
void join_token(http_context&, const exchange_ptr&);
void revoke_node(http_context&, const exchange_ptr&);
void rotate_node(http_context&, const exchange_ptr&);
// site_files.cpp
void feedback(http_context&, const exchange_ptr&);
void upload_file(http_context&, const exchange_ptr&);
void files(http_context&, const exchange_ptr&);
void file(http_context&, const exchange_ptr&);
void delete_file(http_context&, const exchange_ptr&);
// federation_handlers.cpp
void create_job(http_context&, const exchange_ptr&);
void jobs(http_context&, const exchange_ptr&);
void job(http_context&, const exchange_ptr&);
void cancel_job(http_context&, const exchange_ptr&);
void admin_create_job(http_context&, const exchange_ptr&);
void admin_jobs(http_context&, const exchange_ptr&);
void admin_cancel_job(http_context&, const exchange_ptr&);
void rounds(http_context&, const exchange_ptr&);
void explain(http_context&, const exchange_ptr&);
void replay(http_context&, const exchange_ptr&);
void close_round(http_context&, const exchange_ptr&);
void rollback(http_context&, const exchange_ptr&);
void factors(http_context&, const exchange_ptr&);
}  // namespace handlers

}  // namespace collm::gateway
