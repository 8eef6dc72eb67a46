// POST /v1/completions and /v1/chat/completions: from a body to a submitted generation. Cheap
// refusals come first: what will not be admitted is not tokenised.
#include <ctime>
#include <nlohmann/json.hpp>

#include "gateway/generation.hpp"
#include "gateway/routes.hpp"
#include "gateway/site_port.hpp"

namespace collm::gateway {
namespace {

// OpenAI's default for legacy completions; chats run to their end or the context's.
constexpr std::uint32_t text_tokens_default = 16;

/// Where the request has to stay: the field, the header or the tenant's own site, which must agree.
result<std::string> site_of(const completion_request& request, const exchange& x) {
  std::string site = request.site;
  if (const auto* header = x.request.header("x-collm-site");
      header != nullptr && !header->empty()) {
    if (!site.empty() && site != *header) {
      return error{errc::bad_request,
                   "'site' is " + site + " but the header X-CoLLM-Site is " + *header};
    }
    site = *header;
  }
  if (x.who.site.empty()) return site;
  if (!site.empty() && site != x.who.site) {
    return error{errc::forbidden,
                 "this key's requests stay in site " + x.who.site + ", not " + site};
  }
  return x.who.site;
}

answer_identity identity_of(http_context& context, const completion_request& request) {
  const bool chat = request.kind == completion_kind::chat;
  return {.kind = request.kind,
          .id = (chat ? "chatcmpl-" : "cmpl-") + context.random_id(),
          .created = static_cast<std::int64_t>(std::time(nullptr)),
          .model = {},
          .choices = request.choices,
          .logprobs = request.logprobs,
          .include_usage = request.include_usage};
}

/// What the answer will be an answer to, for feedback: kept by the site that serves it.
void remember_question(http_context& context, generation& one, const prompt_encoder::input& asked,
                       const std::string& answer_id, const std::string& tenant) {
  auto* site = context.runtime.site_store();
  if (site == nullptr || std::holds_alternative<std::vector<std::int32_t>>(asked)) return;
  asked_question question{tenant, {}, {}};
  if (const auto* chat = std::get_if<std::vector<text::chat_message>>(&asked)) {
    auto list = nlohmann::ordered_json::array();
    for (const auto& m : *chat) list.push_back({{"role", m.role}, {"content", m.content}});
    question.messages = list.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  } else {
    question.prompt = std::get<std::string>(asked);
  }
  one.when_served([site, answer_id, question] { site->remember(answer_id, question); });
}

std::uint64_t age_us(const exchange& x) {
  const auto age = std::chrono::steady_clock::now() - x.arrived;
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(age).count());
}

void start(http_context& context, const exchange_ptr& x, completion_request request,
           const prompt_encoder::encoded& prompt) {
  // 63 bits: a seed that we drew can be sent back as a JSON integer.
  const std::uint64_t seed = request.seed.value_or(context.draw() >> 1);
  const auto id = context.runtime.next_id();
  const auto identity = identity_of(context, request);
  auto one =
      std::make_shared<generation>(context, x, identity, id, request.stream, std::to_string(seed));
  remember_question(context, *one, request.input, identity.id, x->who.tenant);
  one->submit(build_request(request, prompt,
                            {.id = id,
                             .seed = seed,
                             .tenant = x->who.tenant,
                             .cache_salt = x->who.cache_salt,
                             .interactive = x->who.interactive,
                             .age_us = age_us(*x)}));
}

void complete(http_context& context, const exchange_ptr& x, completion_kind kind) {
  if (!context.runtime.ready()) return x->fail(api_error::of(not_ready(context.runtime)));
  auto parsed = parse_completion(x->request.body, kind, context.options.bounds);
  if (auto* failure = std::get_if<api_error>(&parsed)) return x->fail(*failure);
  auto& request = std::get<completion_request>(parsed);
  auto site = site_of(request, *x);
  if (!site) {
    auto failure = api_error::of(site.failure());
    failure.param = "site";
    return x->fail(failure);
  }
  request.site = *site;
  const bool chat = kind == completion_kind::chat;
  const auto prompt = context.encoder.encode(request.input, request.max_tokens,
                                             chat ? context.encoder.context : text_tokens_default);
  if (!prompt) {
    auto failure = api_error::of(prompt.failure());
    failure.param = chat ? "messages" : "prompt";
    return x->fail(failure);
  }
  context.access.charge(x->who, prompt->prompt.size(), authenticator::clock::now());
  start(context, x, std::move(request), *prompt);
}

}  // namespace

void handlers::completions(http_context& context, const exchange_ptr& x) {
  complete(context, x, completion_kind::text);
}

void handlers::chat_completions(http_context& context, const exchange_ptr& x) {
  complete(context, x, completion_kind::chat);
}

}  // namespace collm::gateway
