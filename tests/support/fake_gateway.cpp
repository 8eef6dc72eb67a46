// A gateway over the tiny deterministic model: prints its address, serves until standard input
// ends.
#include <iostream>

#include "gateway/http_server.hpp"
#include "tests/support/fake_port.hpp"

int main() {
  using namespace collm;
  gateway::fake::site_double store;
  gateway::fake::federation_double training;
  gateway::fake::port runtime;
  runtime.store = &store;
  runtime.training = &training;
  runtime.answer_all();
  gateway::prompt_encoder encoder{text::tiny::make_tokenizer(),
                                  *text::chat_template::recognise(gateway::fake::smollm2_jinja),
                                  2048,
                                  "tiny",
                                  {}};
  auto server = gateway::http_server::start({}, runtime, std::move(encoder));
  if (!server) {
    std::cerr << server.failure().message << "\n";
    return 1;
  }
  std::cout << "http://127.0.0.1:" << (*server)->port() << "/v1" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
  }
  (*server)->stop();
}
