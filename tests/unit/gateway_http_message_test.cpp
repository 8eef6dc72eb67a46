#include "gateway/http_message.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "gateway/api_error.hpp"
#include "gateway/schema_json.hpp"
#include "messages/msg.hpp"

namespace collm::gateway {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(http_message, head_says_how_the_body_is_framed) {
  http_response r;
  r.body = "12345";
  r.headers.emplace_back("x-a", "b");
  const auto plain = head_bytes(r, {11, true, false, false});
  EXPECT_TRUE(plain.starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(plain, HasSubstr("\r\ncontent-length: 5\r\n"));
  EXPECT_THAT(plain, HasSubstr("\r\nconnection: keep-alive\r\n"));
  EXPECT_THAT(plain, HasSubstr("\r\nx-a: b\r\n"));
  EXPECT_TRUE(plain.ends_with("\r\n\r\n"));
  const auto chunked = head_bytes(r, {11, false, true, false});
  EXPECT_THAT(chunked, HasSubstr("\r\ntransfer-encoding: chunked\r\n"));
  EXPECT_THAT(chunked, Not(HasSubstr("content-length")));
  EXPECT_THAT(chunked, HasSubstr("\r\nconnection: close\r\n"));
  const auto old = head_bytes(r, {10, false, false, true});
  EXPECT_TRUE(old.starts_with("HTTP/1.0 200 OK\r\n"));
  EXPECT_THAT(old, Not(HasSubstr("content-length")));
}

TEST(http_message, date_has_the_form_of_rfc_9110) {
  EXPECT_THAT(head_bytes({}, {}),
              testing::ContainsRegex("\r\ndate: (Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} "
                                     "[A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT\r\n"));
}

TEST(http_message, chunks_carry_their_size_in_hex_and_none_is_empty) {
  EXPECT_EQ(chunk_bytes("abc"), "3\r\nabc\r\n");
  EXPECT_EQ(chunk_bytes(std::string(26, 'x')).substr(0, 4), "1a\r\n");
  EXPECT_EQ(chunk_bytes(""), "");
}

TEST(http_message, percent_decode_refuses_broken_escapes_and_nul) {
  EXPECT_EQ(percent_decode("/a%2Fb%40c"), "/a/b@c");
  for (const char* bad : {"%", "%4", "%zz", "a%00b"}) EXPECT_FALSE(percent_decode(bad)) << bad;
}

TEST(http_message, query_parameters_are_found_by_whole_name) {
  http_request r;
  r.query = "x=1&after=7&afters=8&flag&e=%20";
  EXPECT_EQ(r.parameter("after"), "7");
  EXPECT_EQ(r.parameter("flag"), "");
  EXPECT_EQ(r.parameter("e"), " ");
  EXPECT_FALSE(r.parameter("aft"));
}

TEST(http_status, every_code_has_a_row_and_is_found_by_its_name) {
  for (std::size_t i = 0; i < http_conditions.size(); ++i) {
    const auto code = static_cast<errc>(i);
    EXPECT_EQ(errc_of(to_string(code)), code);
    EXPECT_GE(condition_of(code).status, 400u);
    EXPECT_LT(condition_of(code).status, 600u);
    EXPECT_FALSE(condition_of(code).type.empty());
  }
  EXPECT_EQ(errc_of("of a later release"), errc::internal);
}

TEST(http_status, rows_are_those_of_openai) {
  const auto row = [](errc code) {
    const auto c = condition_of(code);
    return std::to_string(c.status) + " " + std::string(c.type) + " " + std::string(c.code);
  };
  EXPECT_EQ(row(errc::bad_request), "400 invalid_request_error ");
  EXPECT_EQ(row(errc::context_length_exceeded),
            "400 invalid_request_error context_length_exceeded");
  EXPECT_EQ(row(errc::unauthorized), "401 invalid_request_error invalid_api_key");
  EXPECT_EQ(row(errc::forbidden), "403 permission_error ");
  EXPECT_EQ(row(errc::not_found), "404 invalid_request_error model_not_found");
  EXPECT_EQ(row(errc::rate_limited), "429 rate_limit_error rate_limit_exceeded");
  EXPECT_EQ(row(errc::internal), "500 server_error ");
  EXPECT_EQ(row(errc::overloaded), "503 service_unavailable_error server_is_overloaded");
  EXPECT_EQ(row(errc::draining), "503 service_unavailable_error slow_down");
}

TEST(api_error, body_always_has_all_four_keys) {
  EXPECT_EQ(error_json(api_error::bad("n", "too \"many\"")),
            R"({"error":{"message":"too \"many\"","type":"invalid_request_error","param":"n",)"
            R"("code":null}})");
  EXPECT_EQ(error_json(api_error::of({errc::not_found, "no", 0})),
            R"({"error":{"message":"no","type":"invalid_request_error","param":null,)"
            R"("code":"model_not_found"}})");
  EXPECT_EQ(error_json(api_error::of({errc::internal, "bad \xFF byte", 0})),
            "{\"error\":{\"message\":\"bad \xEF\xBF\xBD "
            "byte\",\"type\":\"server_error\",\"param\":null,\"code\":null}}");
}

TEST(api_error, retry_advice_is_in_both_headers_and_never_above_a_minute) {
  const auto headers = [](errc code, std::uint32_t ms) {
    return error_response(api_error::of({code, "", ms})).headers;
  };
  using testing::ElementsAre;
  using testing::Pair;
  EXPECT_THAT(headers(errc::overloaded, 1),
              ElementsAre(Pair("retry-after", "1"), Pair("retry-after-ms", "1")));
  EXPECT_THAT(headers(errc::rate_limited, 1200),
              ElementsAre(Pair("retry-after", "2"), Pair("retry-after-ms", "1200")));
  EXPECT_THAT(headers(errc::overloaded, 60000),
              ElementsAre(Pair("retry-after", "60"), Pair("retry-after-ms", "60000")));
  EXPECT_THAT(headers(errc::overloaded, 60001),
              ElementsAre(Pair("retry-after", "60"), Pair("retry-after-ms", "60000")));
  EXPECT_TRUE(headers(errc::overloaded, 0).empty());
  EXPECT_TRUE(headers(errc::bad_request, 100).empty());
}

TEST(schema_json, is_one_line_with_names_for_enums_and_numbers_for_32_bits) {
  const auto event = msg<schema::Event>::build([](schema::Event::Builder b) {
    b.setSeq(7);
    b.setLevel(schema::EventLevel::WARNING);
    b.setMessage("a \"line\"\nbreak");
  });
  const auto text = to_json(*event.read());
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const auto value = nlohmann::json::parse(text);
  EXPECT_EQ(value["seq"], 7);
  EXPECT_EQ(value["level"], "warning");
  EXPECT_EQ(value["message"], "a \"line\"\nbreak");
}

TEST(schema_json, is_utf8_whatever_a_node_calls_itself) {
  const auto event = msg<schema::Event>::build(
      [](schema::Event::Builder b) { b.setMessage("edge-\xff\xc3(\xc3\xa9"); });
  EXPECT_EQ(nlohmann::json::parse(to_json(*event.read()))["message"],
            "edge-\xef\xbf\xbd\xef\xbf\xbd(\xc3\xa9");
}

TEST(schema_json, gives_64_bit_numbers_as_strings_and_nests) {
  const auto record = msg<schema::VersionRecord>::build([](schema::VersionRecord::Builder b) {
    b.setBytes(9007199254740993u);
    b.setState(schema::VersionState::ROLLED_BACK);
  });
  const auto value = nlohmann::json::parse(to_json(*record.read()));
  EXPECT_EQ(value["bytes"], "9007199254740993");
  EXPECT_EQ(value["parent"], -1);
  EXPECT_EQ(value["state"], "rolledBack");
  const auto status = msg<schema::ClusterStatus>::build([](schema::ClusterStatus::Builder b) {
    b.initHead().setTokensPerSecond(1.5f);
    b.initNodes(2)[1].setName("edge-b");
  });
  const auto cluster = nlohmann::json::parse(to_json(*status.read()));
  EXPECT_EQ(cluster["head"]["tokensPerSecond"], 1.5);
  EXPECT_EQ(cluster["nodes"][1]["name"], "edge-b");
}

}  // namespace
}  // namespace collm::gateway
