// Inputs of tokenizer_json_fuzz.cpp: the small golden tokenizers with something in them changed.
#include <cstdint>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "tests/fuzz/fuzz_main.hpp"

namespace {

using nlohmann::json;

json odd_value(std::mt19937& random) {
  const json values[] = {nullptr,
                         false,
                         true,
                         0,
                         -1,
                         7,
                         1e99,
                         "",
                         "x y",
                         "A",
                         json::array(),
                         json::object(),
                         json::array({"A", "B"}),
                         "\u2581",
                         4294967297};
  return values[random() % std::size(values)];
}

/// Replaces or removes a random part; deeper parts are as likely as their parents.
void damage(json& at, std::mt19937& random) {
  if (!at.is_structured() || at.empty() || random() % 6 == 0) {
    at = odd_value(random);
    return;
  }
  auto child = at.begin();
  std::advance(child, random() % at.size());
  if (random() % 8 == 0) {
    at.erase(child);
  } else {
    damage(*child, random);
  }
}

}  // namespace

void collm::fuzz::drive(void (&run)(const std::string& bytes), std::uint32_t seed) {
  std::ifstream file(COLLM_SOURCE_DIR "/tests/golden/tokenizer_kinds.json");
  const json kinds = json::parse(file)["kinds"];
  std::mt19937 random(11 + seed);
  for (int i = 0; i < 1500; ++i) {
    for (const auto& [name, kind] : kinds.items()) {
      json text = kind["tokenizer"];
      for (unsigned n = 1 + random() % 3; n > 0; --n) damage(text, random);
      std::string bytes = text.dump();
      if (i % 3 == 0) bytes[random() % bytes.size()] = static_cast<char>(random());
      run(bytes);
    }
  }
}
