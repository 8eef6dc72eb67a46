#include "gateway/completion_request.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace collm::gateway {
namespace {

using testing::HasSubstr;

std::variant<completion_request, api_error> chat(const std::string& fields,
                                                 const limits& bounds = {}) {
  return parse_completion(R"({"messages":[{"role":"user","content":"hi"}])" + fields + "}",
                          completion_kind::chat, bounds);
}
std::variant<completion_request, api_error> text(const std::string& body,
                                                 const limits& bounds = {}) {
  return parse_completion(body, completion_kind::text, bounds);
}
std::string param_of(const std::variant<completion_request, api_error>& parsed) {
  const auto* failure = std::get_if<api_error>(&parsed);
  if (failure == nullptr) return "accepted";
  EXPECT_EQ(failure->condition.status, 400u);
  return failure->param;
}

TEST(completion_request, defaults_are_those_of_openai) {
  const auto r = std::get<completion_request>(chat(""));
  EXPECT_EQ(r.temperature, 1);
  EXPECT_EQ(r.top_p, 1);
  EXPECT_EQ(r.choices, 1u);
  EXPECT_EQ(r.max_tokens, 0u);
  EXPECT_EQ(r.logprobs, -1);
  EXPECT_FALSE(r.stream);
  EXPECT_FALSE(r.seed.has_value());
}

TEST(completion_request, reads_every_field) {
  const auto r = std::get<completion_request>(
      chat(R"(,"model":"assistant@3","max_tokens":5,"max_completion_tokens":9,"temperature":0.5,)"
           R"("top_p":0.9,"top_k":40,"min_p":0.1,
      "repetition_penalty":1.1,"presence_penalty":-1,"frequency_penalty":2,"seed":-1,"n":3,)"
           R"("stop":["a","b"],"logprobs":true,
      "top_logprobs":4,"ignore_eos":true,"stream":true,)"
           R"("stream_options":{"include_usage":true},"site":"kitchen","user":"u")"));
  EXPECT_EQ(r.model, "assistant@3");
  EXPECT_EQ(r.max_tokens, 9u);
  EXPECT_FLOAT_EQ(r.temperature, 0.5f);
  EXPECT_FLOAT_EQ(r.top_p, 0.9f);
  EXPECT_EQ(r.top_k, 40u);
  EXPECT_FLOAT_EQ(r.min_p, 0.1f);
  EXPECT_FLOAT_EQ(r.repetition_penalty, 1.1f);
  EXPECT_EQ(r.presence_penalty, -1);
  EXPECT_EQ(r.frequency_penalty, 2);
  EXPECT_EQ(r.seed, UINT64_MAX);
  EXPECT_EQ(r.choices, 3u);
  EXPECT_EQ(r.stops, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(r.logprobs, 4);
  EXPECT_TRUE(r.ignore_eos && r.stream && r.include_usage);
  EXPECT_EQ(r.site, "kitchen");
}

TEST(completion_request, null_means_absent) {
  EXPECT_EQ(
      param_of(chat(R"(,"temperature":null,"seed":null,"stop":null,"n":null,"stream_options":null,)"
                    R"("tools":null)")),
      "accepted");
}

TEST(completion_request, wrong_types_and_ranges_name_the_field) {
  const std::pair<const char*, const char*> cases[] = {
      {R"(,"temperature":"hot")", "temperature"},
      {R"(,"temperature":2.1)", "temperature"},
      {R"(,"temperature":-0.1)", "temperature"},
      {R"(,"top_p":0)", "top_p"},
      {R"(,"top_p":1.01)", "top_p"},
      {R"(,"top_k":-2)", "top_k"},
      {R"(,"top_k":1.5)", "top_k"},
      {R"(,"min_p":2)", "min_p"},
      {R"(,"repetition_penalty":0)", "repetition_penalty"},
      {R"(,"presence_penalty":3)", "presence_penalty"},
      {R"(,"frequency_penalty":-3)", "frequency_penalty"},
      {R"(,"seed":1.5)", "seed"},
      {R"(,"seed":"1")", "seed"},
      {R"(,"n":0)", "n"},
      {R"(,"n":17)", "n"},
      {R"(,"max_tokens":0)", "max_tokens"},
      {R"(,"max_completion_tokens":-1)", "max_completion_tokens"},
      {R"(,"stop":[""])", "stop"},
      {R"(,"stop":[1])", "stop"},
      {R"(,"stop":7)", "stop"},
      {R"(,"logprobs":5)", "logprobs"},
      {R"(,"top_logprobs":2)", "top_logprobs"},
      {R"(,"logprobs":true,"top_logprobs":21)", "top_logprobs"},
      {R"(,"stream":"yes")", "stream"},
      {R"(,"stream_options":{"include_usage":true})", "stream_options"},
      {R"(,"stream":true,"stream_options":[])", "stream_options"},
      {R"(,"stream":true,"stream_options":{"include_usage":1})", "stream_options.include_usage"},
      {R"(,"model":5)", "model"},
      {R"(,"site":true)", "site"},
      {R"(,"ignore_eos":0)", "ignore_eos"}};
  for (const auto& [fields, param] : cases) EXPECT_EQ(param_of(chat(fields)), param) << fields;
}

TEST(completion_request, names_with_control_characters_are_refused_not_cut) {
  for (const char* bad : {R"(assistant\u0000@9)", R"(\u0000)", R"(a\nb)", R"(a\u007f)"}) {
    EXPECT_EQ(param_of(chat(",\"model\":\"" + std::string(bad) + "\"")), "model") << bad;
    EXPECT_EQ(param_of(chat(",\"site\":\"" + std::string(bad) + "\"")), "site") << bad;
  }
  EXPECT_EQ(param_of(chat(",\"model\":\"k\u00fcche\"")), "accepted");
}

TEST(completion_request, fields_that_would_change_the_answer_are_refused_by_name) {
  const std::pair<const char*, const char*> cases[] = {
      {R"(,"tools":[{"type":"function"}])", "tools"},
      {R"(,"tool_choice":"required")", "tool_choice"},
      {R"(,"response_format":{"type":"json_schema"})", "response_format"},
      {R"(,"response_format":{"type":"json_object"})", "response_format"},
      {R"(,"response_format":[])", "response_format"},
      {R"(,"logit_bias":{"5":1})", "logit_bias"},
      {R"(,"best_of":2)", "best_of"},
      {R"(,"echo":true)", "echo"},
      {R"(,"min_tokens":1)", "min_tokens"},
      {R"(,"guided_json":{})", "guided_json"},
      {R"(,"functions":[{}])", "functions"},
      {R"(,"suffix":"x")", "suffix"}};
  for (const auto& [fields, param] : cases) EXPECT_EQ(param_of(chat(fields)), param) << fields;
}

TEST(completion_request, the_same_fields_with_neutral_values_pass) {
  EXPECT_EQ(param_of(chat(R"(,"tools":[],"tool_choice":"none","response_format":{"type":"text"},)"
                          R"("logit_bias":{},"best_of":1,
      "echo":false,"min_tokens":0,"suffix":"","modalities":["text"],"store":true,)"
                          R"("metadata":{"a":"b"},"unheard_of":[1,{}])")),
            "accepted");
}

TEST(completion_request, content_is_a_string_or_text_parts) {
  const auto body = [](const std::string& content) {
    return R"({"messages":[{"role":"developer","content":)" + content + "}]}";
  };
  const auto parts =
      parse_completion(body(R"([{"type":"text","text":"a"},{"type":"text","text":"b"}])"),
                       completion_kind::chat, {});
  const auto messages =
      std::get<std::vector<text::chat_message>>(std::get<completion_request>(parts).input);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].content, "ab");
  EXPECT_EQ(messages[0].role, "system");
  for (const char* bad : {"null", "5", R"([{"type":"image_url","image_url":{"url":"x"}}])",
                          R"([{"type":"text"}])", R"(["a"])"}) {
    EXPECT_EQ(param_of(parse_completion(body(bad), completion_kind::chat, {})),
              "messages[0].content")
        << bad;
  }
}

TEST(completion_request, messages_must_be_there_and_of_known_roles) {
  const auto parse = [](const char* body) {
    return param_of(parse_completion(body, completion_kind::chat, {}));
  };
  EXPECT_EQ(parse("{}"), "messages");
  EXPECT_EQ(parse(R"({"messages":[]})"), "messages");
  EXPECT_EQ(parse(R"({"messages":"hi"})"), "messages");
  EXPECT_EQ(parse(R"({"messages":[5]})"), "messages[0]");
  EXPECT_EQ(parse(R"({"messages":[{"role":"user","content":"a"},{"role":"tool","content":"b"}]})"),
            "messages[1].role");
  EXPECT_EQ(parse(R"({"messages":[{"role":"assistant","content":"a","tool_calls":[{}]}]})"),
            "messages[0].tool_calls");
}

TEST(completion_request, prompt_is_one_string_or_one_list_of_ids) {
  const auto input = [](const char* body) {
    return std::get<completion_request>(text(body)).input;
  };
  EXPECT_EQ(std::get<std::string>(input(R"({"prompt":"a"})")), "a");
  EXPECT_EQ(std::get<std::string>(input(R"({"prompt":["a"]})")), "a");
  EXPECT_EQ(std::get<std::vector<std::int32_t>>(input(R"({"prompt":[1,2]})")),
            (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(std::get<std::vector<std::int32_t>>(input(R"({"prompt":[[1,2]]})")),
            (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(std::get<std::vector<std::int32_t>>(input(R"({"prompt":[-5,99999999999]})")),
            (std::vector<std::int32_t>{-1, -1}));
  for (const char* bad : {"{}", R"({"prompt":5})", R"({"prompt":{}})", R"({"prompt":["a","b"]})",
                          R"({"prompt":[[1],[2]]})", R"({"prompt":[1,"a"]})", R"({"prompt":[1.5]})",
                          R"({"prompt":[[]  ,5]})"}) {
    EXPECT_EQ(param_of(text(bad)), "prompt") << bad;
  }
}

TEST(completion_request, limits_hold_at_and_one_past) {
  limits bounds;
  bounds.choices_max = 2;
  bounds.stop_strings_max = 2;
  bounds.stop_string_bytes_max = 3;
  bounds.messages_max = 1;
  bounds.json_depth_max = 4;
  EXPECT_EQ(param_of(chat(R"(,"n":2)", bounds)), "accepted");
  EXPECT_EQ(param_of(chat(R"(,"n":3)", bounds)), "n");
  EXPECT_EQ(param_of(chat(R"(,"stop":["abc","b"])", bounds)), "accepted");
  EXPECT_EQ(param_of(chat(R"(,"stop":["a","b","c"])", bounds)), "stop");
  EXPECT_EQ(param_of(chat(R"(,"stop":"abcd")", bounds)), "stop");
  EXPECT_EQ(param_of(parse_completion(
                R"({"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]})",
                completion_kind::chat, bounds)),
            "messages");
  EXPECT_EQ(param_of(chat(R"(,"metadata":{"a":{"b":{}}})", bounds)), "accepted");
  const auto deep = chat(R"(,"metadata":{"a":{"b":{"c":{}}}})", bounds);
  EXPECT_THAT(std::get<api_error>(deep).message, HasSubstr("deeper than 4"));
}

TEST(completion_request, what_is_no_json_object_is_refused_with_its_place) {
  const auto message = [](const std::string& body) {
    return std::get<api_error>(parse_completion(body, completion_kind::text, {})).message;
  };
  EXPECT_THAT(message(""), HasSubstr("empty"));
  EXPECT_THAT(message("[1]"), HasSubstr("array"));
  EXPECT_THAT(message(R"({"prompt":)"),
              HasSubstr("not valid JSON: parse error at line 1, column 11"));
  EXPECT_THAT(message("{\"prompt\":\"\xC3(\"}"), HasSubstr("UTF-8"));
  EXPECT_THAT(message(R"({"prompt":"\ud800"})"), HasSubstr("not valid JSON"));
  EXPECT_THAT(message("{}{}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(message(std::string(100000, '[')), HasSubstr("deeper than 32"));
}

TEST(build_request, carries_every_field_and_what_the_server_adds) {
  auto from = std::get<completion_request>(
      chat(R"(,"model":"a","temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.1,"n":3,)"
           R"("stop":"x","logprobs":true,"top_logprobs":4,
      "ignore_eos":true,"site":"s","repetition_penalty":1.5,"presence_penalty":0.5,)"
           R"("frequency_penalty":0.25)"));
  const auto m = build_request(
      from, {{5, 6}, 77},
      {.id = 9, .seed = 11, .tenant = "t", .cache_salt = 12, .interactive = false, .age_us = 13});
  const auto r = m.read();
  EXPECT_EQ(r->getId(), 9u);
  EXPECT_EQ(r->getModel(), "a");
  ASSERT_EQ(r->getPrompt().size(), 2u);
  EXPECT_EQ(r->getPrompt()[1], 6u);
  EXPECT_EQ(r->getMaxTokens(), 77u);
  EXPECT_EQ(r->getSampling().getTopK(), 40u);
  EXPECT_FLOAT_EQ(r->getSampling().getTemperature(), 0.5f);
  EXPECT_FLOAT_EQ(r->getSampling().getTopP(), 0.9f);
  EXPECT_FLOAT_EQ(r->getSampling().getMinP(), 0.1f);
  EXPECT_FLOAT_EQ(r->getSampling().getRepetitionPenalty(), 1.5f);
  EXPECT_FLOAT_EQ(r->getSampling().getPresencePenalty(), 0.5f);
  EXPECT_FLOAT_EQ(r->getSampling().getFrequencyPenalty(), 0.25f);
  EXPECT_EQ(r->getSampling().getSeed(), 11u);
  EXPECT_EQ(r->getSampling().getLogprobs(), 4);
  EXPECT_EQ(r->getStops()[0], "x");
  EXPECT_EQ(r->getChoices(), 3);
  EXPECT_TRUE(r->getIgnoreEos());
  EXPECT_EQ(r->getSite(), "s");
  EXPECT_EQ(r->getTenant(), "t");
  EXPECT_EQ(r->getCacheSalt(), 12u);
  EXPECT_EQ(r->getAgeUs(), 13u);
  EXPECT_FALSE(r->getInteractive());
  from.seed = 5;
  EXPECT_EQ(build_request(from, {{5}, 1}, {}).read()->getSampling().getSeed(), 5u);
}

}  // namespace
}  // namespace collm::gateway
