// Inputs of safetensors_fuzz.cpp: good adapter folders spoilt in thousands of ways, in one file or
// both.
#include <cstdint>
#include <cstring>
#include <iterator>
#include <random>
#include <string>
#include <string_view>

#include "engine/adapter/safetensors.hpp"
#include "messages/assert.hpp"
#include "tests/fuzz/fuzz_main.hpp"

namespace {

std::string good_tensors() {
  const std::vector<float> values(16, 0.5f);
  const std::string stem = "base_model.model.model.layers.0.self_attn.q_proj.lora_";
  const auto file = collm::engine::write_safetensors(
      {{stem + "A.weight", {2, 8}, values}, {stem + "B.weight", {8, 2}, values}});
  return std::string(1, '\0') + std::string(file.begin(), file.end());
}

std::string good_config() {
  return "\1"
         R"({"peft_type":"LORA","r":2,"lora_alpha":4,"use_rslora":true,"bias":"none",)"
         R"("target_modules":["q_proj"],"rank_pattern":{"layers.0.self_attn.q_proj":3},)"
         R"("alpha_pattern":{},"layers_to_transform":[0,1],"exclude_modules":["v_proj"],)"
         R"("init_lora_weights":true})";
}

/// Bits, digits, atoms of the format, cuts and doublings; the header's length is kept in step half
/// of the time.
std::string spoil(std::string bytes, std::mt19937& random) {
  constexpr std::string_view atoms[] = {"[",
                                        "]",
                                        "{",
                                        "}",
                                        "\"",
                                        ",",
                                        "-1",
                                        "18446744073709551615",
                                        "4294967296",
                                        "null",
                                        "true",
                                        "F16",
                                        "BF16",
                                        "I8",
                                        "1e9",
                                        "\"shape\":[0]",
                                        "__metadata__",
                                        "\\u0000"};
  for (std::uint32_t n = 1 + random() % 4; n > 0 && bytes.size() > 10; --n) {
    const std::size_t at = 1 + random() % (bytes.size() - 1);
    switch (random() % 6) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
        break;
      case 1:
        bytes[at] = static_cast<char>('0' + random() % 10);
        break;
      case 2:
        bytes.insert(at, atoms[random() % std::size(atoms)]);
        break;
      case 3:
        bytes.erase(at, 1 + random() % 8);
        break;
      case 4:
        bytes.resize(at);
        break;
      default:
        bytes.insert(at, bytes.substr(at, random() % 40));
        break;
    }
  }
  if (bytes[0] == 0 && bytes.size() > 9 && random() % 2 == 0) {
    const std::uint64_t length = std::min<std::size_t>(bytes.size() - 9, bytes.rfind('}') - 8);
    std::memcpy(bytes.data() + 1, &length, sizeof length);
  }
  return bytes;
}

/// Spoils the config, the tensors or both of a pair.
std::string spoil_pair(const std::string& pair, std::mt19937& random) {
  const auto length = static_cast<std::size_t>(static_cast<unsigned char>(pair[1])) |
                      static_cast<std::size_t>(static_cast<unsigned char>(pair[2])) << 8;
  std::string config = pair.substr(3, length), tensors = pair.substr(3 + length);
  const auto what = random() % 3;
  if (what != 0) config = spoil('\1' + config, random).substr(1);
  if (what != 1) tensors = spoil('\0' + tensors, random).substr(1);
  return std::string{'\2', static_cast<char>(config.size() & 255),
                     static_cast<char>(config.size() >> 8)} +
         config + tensors;
}

}  // namespace

void collm::fuzz::drive(void (&run)(const std::string& bytes), std::uint32_t seed) {
  std::vector<std::string> pairs;
  for (const auto& one : corpus())
    if (one.size() > 3 && one[0] == '\2') pairs.push_back(one);
  COLLM_ASSERT(!pairs.empty());
  std::mt19937 random(3 + seed);
  for (int i = 0; i < 20000; ++i) run(spoil(i % 2 == 0 ? good_tensors() : good_config(), random));
  for (int i = 0; i < 20000; ++i) run(spoil_pair(pairs[random() % pairs.size()], random));
}
