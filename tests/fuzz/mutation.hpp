// Mutations of valid texts for the drivers: bytes changed, cut out, doubled, and pieces that
// parsers stumble over put in.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <string_view>

namespace collm::fuzz {

inline std::string mutated(std::mt19937& random, std::span<const std::string_view> seeds,
                           std::span<const std::string_view> pieces) {
  std::string out(seeds[random() % seeds.size()]);
  for (auto n = random() % 6; n > 0 && !out.empty(); --n) {
    const auto at = random() % out.size();
    switch (random() % 4) {
      case 0:
        out[at] = static_cast<char>(random());
        break;
      case 1:
        out.erase(at, 1 + random() % 8);
        break;
      case 2:
        out.insert(at, pieces[random() % pieces.size()]);
        break;
      default:
        out.insert(at, out.substr(random() % out.size(), random() % 30));
    }
  }
  return out;
}

}  // namespace collm::fuzz
