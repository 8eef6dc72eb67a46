// Inputs of http_body_fuzz.cpp: mutations of valid bodies.
#include <cstdint>
#include <iterator>
#include <random>
#include <string>
#include <string_view>

#include "tests/fuzz/fuzz_main.hpp"

namespace {

constexpr std::string_view bodies[] = {
    R"(0{"model":"a","messages":[{"role":"user","content":"hi"},{"role":"assistant",)"
    R"("content":[{"type":"text","text":"x"}]}],"n":2})",
    R"(1{"prompt":"hello","max_tokens":5,"stop":["a","\u00e9"],"logprobs":3,"stream":true,)"
    R"("stream_options":{"include_usage":true}})",
    R"(1{"prompt":[1,2,3],"temperature":0.5,"top_p":0.9,"top_k":-1,)"
    R"("seed":-9223372036854775808,"site":"kitchen","echo":false})",
    R"(0{"messages":[{"role":"system","content":""}],"tools":[],)"
    R"("response_format":{"type":"text"},"logit_bias":{},"seed":1e3})"};
constexpr std::string_view atoms[] = {"{",
                                      "}",
                                      "[",
                                      "]",
                                      ",",
                                      ":",
                                      "\"",
                                      "null",
                                      "true",
                                      "-1",
                                      "1e999",
                                      "0.5",
                                      "\\u0000",
                                      "\\ud800",
                                      "\xFF",
                                      "\"n\":",
                                      "\"stop\":",
                                      "[[",
                                      "99999999999999999999"};

std::string mutated(std::mt19937& random) {
  std::string out(bodies[random() % std::size(bodies)]);
  for (auto n = random() % 6; n > 0; --n) {
    const auto at = 1 + random() % (out.size() - 1);
    switch (random() % 4) {
      case 0:
        out[at] = static_cast<char>(random());
        break;
      case 1:
        out.erase(at, 1 + random() % 8);
        break;
      case 2:
        out.insert(at, atoms[random() % std::size(atoms)]);
        break;
      default:
        out.insert(at, out.substr(random() % out.size(), random() % 30));
    }
    if (out.size() < 2) out = "0{}";
  }
  return out;
}

}  // namespace

void collm::fuzz::drive(void (&run)(const std::string& bytes), std::uint32_t seed) {
  std::mt19937 random(3 + seed);
  for (const auto body : bodies) run(std::string(body));
  for (int i = 0; i < 30000; ++i) run(mutated(random));
}
