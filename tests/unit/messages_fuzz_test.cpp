// Every message on its way from outside: frozen bytes, and a fixed number of mutations of them.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <random>

#include "tests/fuzz/message_fuzz.hpp"

namespace collm::fuzz {
namespace {

constexpr unsigned variants = 2;  // two members of each union

std::string frozen_file() { return COLLM_SOURCE_DIR "/tests/unit/data/messages_frozen.txt"; }

std::string to_hex(const std::string& bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (unsigned char c : bytes) {
    out += digits[c >> 4];
    out += digits[c & 15];
  }
  return out;
}

std::string from_hex(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    out += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
  }
  return out;
}

std::string label(const kind& k, unsigned variant) {
  return std::string(k.name) + "/" + std::to_string(variant);
}

/// "Name/variant" -> bytes, as committed.
std::map<std::string, std::string> frozen() {
  std::map<std::string, std::string> out;
  std::ifstream in(frozen_file());
  for (std::string name, hex; in >> name >> hex;) out[name] = from_hex(hex);
  return out;
}

result<std::string> read(const kind& k, const std::string& bytes) {
  return k.read(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

// COLLM_WRITE_FROZEN=1 writes the file anew: only when fields were appended, never to hide a
// changed ordinal.
TEST(frozen_bytes, of_every_message_are_what_they_were) {
  if (std::getenv("COLLM_WRITE_FROZEN")) {
    std::ofstream out(frozen_file());
    for (const auto& k : kinds()) {
      for (unsigned v = 0; v < variants; ++v)
        out << label(k, v) << " " << to_hex(k.sample(v)) << "\n";
    }
  }
  const auto before = frozen();
  ASSERT_EQ(before.size(), kinds().size() * variants)
      << "a message came or went: see COLLM_WRITE_FROZEN";
  for (const auto& k : kinds()) {
    for (unsigned v = 0; v < variants; ++v) {
      ASSERT_TRUE(before.contains(label(k, v))) << label(k, v);
      EXPECT_EQ(to_hex(k.sample(v)), to_hex(before.at(label(k, v))))
          << label(k, v) << " is written differently now";
    }
  }
}

TEST(frozen_bytes, of_every_message_mean_what_they_meant) {
  for (const auto& k : kinds()) {
    for (unsigned v = 0; v < variants; ++v) {
      const auto then = read(k, frozen()[label(k, v)]);
      const auto now = read(k, k.sample(v));
      ASSERT_TRUE(then) << label(k, v) << ": " << then.failure().message;
      ASSERT_TRUE(now) << label(k, v);
      EXPECT_EQ(*then, *now);
      EXPECT_GT(now->size(), 30u) << *now;  // something is set at all
    }
  }
}

/// Flips, stretches, cuts and swaps words: what reaches past the segment table now and then.
std::string mutate(std::string bytes, std::mt19937& random) {
  for (unsigned n = 1 + random() % 6; n > 0 && !bytes.empty(); --n) {
    const auto at = random() % bytes.size();
    switch (random() % 5) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
        break;
      case 1:
        bytes[at] = static_cast<char>(random());
        break;
      case 2:
        bytes[at] = static_cast<char>(random() % 2 ? 0xff : 0);
        break;
      case 3:
        if (random() % 8 == 0) bytes.resize(at / 8 * 8);
        break;
      default:
        if (bytes.size() >= 16)
          std::swap_ranges(bytes.begin(), bytes.begin() + 8, bytes.begin() + bytes.size() / 16 * 8);
    }
  }
  return bytes;
}

TEST(fuzz, mutations_are_refused_or_read_under_the_guard) {
  std::mt19937 random(20);
  std::uint32_t accepted = 0, refused = 0, guarded = 0;
  for (const auto& k : kinds()) {
    for (int i = 0; i < 500; ++i) {
      const auto outcome = read(k, mutate(k.sample(i % variants), random));
      if (outcome) {
        ++accepted;
      } else {
        ++refused;
        guarded += outcome.failure().code == errc::corrupt ? 1 : 0;
        EXPECT_FALSE(outcome.failure().message.empty());
      }
    }
  }
  // Both ways are walked: else the mutations are too tame or too wild to show anything.
  EXPECT_GT(accepted, 1000u);
  EXPECT_GT(refused, 1000u);
  EXPECT_EQ(guarded, refused);
}

TEST(fuzz, target_takes_any_bytes) {
  std::mt19937 random(7);
  for (int i = 0; i < 5000; ++i) {
    std::string bytes(random() % 200, '\0');
    for (auto& c : bytes) c = static_cast<char>(random() % 4 ? 0 : random());
    EXPECT_EQ(
        LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()),
        0);
  }
}

}  // namespace
}  // namespace collm::fuzz
