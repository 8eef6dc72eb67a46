// Inputs of http_body_fuzz.cpp: mutations of its corpus, of bodies and of forms each with what
// their parsers stumble over.
#include "messages/assert.hpp"
#include "tests/fuzz/fuzz_main.hpp"
#include "tests/fuzz/mutation.hpp"

namespace {

constexpr std::string_view of_json[] = {"{",
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
constexpr std::string_view of_forms[] = {"\r\n",
                                         "\r",
                                         "\n",
                                         "\r\n\r\n",
                                         "--",
                                         "--b-1",
                                         "\r\n--b-1\r\n",
                                         "\r\n--b-1--",
                                         ";",
                                         "\"",
                                         "\\\"",
                                         "=",
                                         ": ",
                                         "boundary=",
                                         "name=\"",
                                         "filename*=UTF-8''",
                                         "\xFF",
                                         "Content-Disposition: form-data; name=\"x\"\r\n\r\n"};

}  // namespace

void collm::fuzz::drive(void (&run)(const std::string& bytes), std::uint32_t seed) {
  std::vector<std::string_view> bodies, forms;
  for (const auto& one : corpus()) (one[0] == '2' ? forms : bodies).push_back(one);
  COLLM_ASSERT(!bodies.empty() && !forms.empty());
  std::mt19937 random(3 + seed);
  for (int i = 0; i < 30000; ++i) run(mutated(random, bodies, of_json));
  for (int i = 0; i < 20000; ++i) run(mutated(random, forms, of_forms));
}
