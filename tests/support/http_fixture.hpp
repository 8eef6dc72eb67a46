// A gateway over a fake runtime with a tokenizer of bytes: the token of 'a' is
// text::tiny::byte_token('a').
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gateway/http_server.hpp"
#include "tests/support/fake_port.hpp"
#include "tests/support/http_peer.hpp"

namespace collm::gateway::fake {

inline prompt_encoder byte_encoder(limits bounds = {}) {
  return {text::tiny::make_tokenizer(), *text::chat_template::recognise(smollm2_jinja), 2048,
          "tiny", bounds};
}

class http_test : public testing::Test {
 protected:
  /// Options may be changed before the first use of the server.
  http_options options;
  port runtime;

  http_test() { options.seed = 7; }
  ~http_test() override {
    if (server_) server_->stop();
  }
  http_server& server() {
    if (!server_) {
      auto made = http_server::start(options, runtime, byte_encoder(options.bounds));
      EXPECT_TRUE(made) << (made ? "" : made.failure().message);
      server_ = std::move(*made);
    }
    return *server_;
  }
  http_peer peer(int receive_buffer = 0) { return http_peer(server().port(), receive_buffer); }
  reply ask(std::string_view method, std::string_view target, std::string_view body = {},
            std::string_view more = {}) {
    return peer().ask(method, target, body, more);
  }

 private:
  std::unique_ptr<http_server> server_;
};

inline nlohmann::json parsed(const std::string& text) {
  return nlohmann::json::parse(text, nullptr, false);
}

/// The `error` object of a response, after checking that all four keys are there.
inline nlohmann::json error_of(const reply& r) {
  const auto body = parsed(r.body);
  if (!body.is_object() || !body.contains("error")) {
    ADD_FAILURE() << "no error object: " << r.body;
    return {};
  }
  const auto error = body["error"];
  for (const char* key : {"message", "type", "param", "code"})
    EXPECT_TRUE(error.contains(key)) << key << " in " << r.body;
  return error;
}

/// The frames of a server-sent event stream, without "data: ".
inline std::vector<std::string> frames_of(std::string_view body) {
  std::vector<std::string> out;
  while (!body.empty()) {
    const auto end = body.find("\n\n");
    EXPECT_NE(end, std::string_view::npos) << "a frame without its empty line: " << body;
    if (end == std::string_view::npos) break;
    EXPECT_TRUE(body.starts_with("data: ")) << body;
    out.emplace_back(body.substr(6, end - 6));
    body.remove_prefix(end + 2);
  }
  return out;
}

}  // namespace collm::gateway::fake
