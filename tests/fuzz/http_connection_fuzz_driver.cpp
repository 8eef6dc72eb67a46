// Inputs of http_connection_fuzz.cpp: mutations of requests to every kind of route.
#include "tests/fuzz/fuzz_main.hpp"
#include "tests/fuzz/mutation.hpp"

namespace {

constexpr std::string_view seeds[] = {
    "POST /v1/completions HTTP/1.1\r\nHost: localhost:80\r\nAuthorization: Bearer k\r\n"
    "Content-Length: 29\r\n\r\n{\"prompt\":\"a\",\"max_tokens\":2}GET /health HTTP/1.1\r\nHost: "
    "a\r\n\r\n",
    "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "
    "k\r\nTransfer-Encoding: "
    "chunked\r\n\r\n2d\r\n{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\r\n10\r\n\"max_"
    "tokens\":1   }\r\n0\r\nX: y\r\n\r\n",
    "POST /v1/files HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k\r\nContent-Type: "
    "multipart/form-data; boundary=b\r\nContent-Length: 134\r\n\r\n--b\r\nContent-Disposition: "
    "form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n--b\r\nContent-Disposition: form-data; "
    "name=\"file\"; filename=\"f\"\r\n\r\n{}\r\n--b--\r\n",
    "POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k\r\nContent-Length: "
    "21\r\n\r\n{\"model\":\"assistant\"} ",
    "GET /v1/fine_tuning/jobs?limit=3&after=%41 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "
    "k\r\n\r\n",
    "POST /v1/feedback HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k\r\nExpect: "
    "100-continue\r\nContent-Length: 31\r\n\r\n{\"request_id\":\"x\",\"answer\":\"y\"} ",
    "DELETE /v1/files/file-0 HTTP/1.0\r\nAuthorization: Bearer k\r\nConnection: keep-alive\r\n\r\n",
    "POST /admin/v1/drain HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k\r\nContent-Length: "
    "2\r\n\r\n{}",
    "HEAD /dashboard/index.html?x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Request-Id: "
    "r\r\n\r\n"};
constexpr std::string_view pieces[] = {"\r\n",
                                       "\r",
                                       "\n",
                                       "\r\n\r\n",
                                       ":",
                                       " ",
                                       "\t",
                                       "\x00",
                                       "\xff",
                                       "%00",
                                       "%zz",
                                       "?",
                                       "Content-Length: 5\r\n",
                                       "Transfer-Encoding: chunked\r\n",
                                       "chunked",
                                       "ffffffffffffffff",
                                       "HTTP/1.0",
                                       "HTTP/9.9",
                                       "--b",
                                       "--b--",
                                       ";",
                                       "\"",
                                       "{",
                                       "[[[["};

}  // namespace

void collm::fuzz::drive(void (&run)(const std::string& bytes), std::uint32_t seed) {
  std::mt19937 random(8 + seed);
  for (const auto text : seeds) run(std::string(text));
  for (int i = 0; i < 3000; ++i) run(mutated(random, seeds, pieces));
}
