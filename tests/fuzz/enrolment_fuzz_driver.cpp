// Inputs of enrolment_fuzz.cpp: mutations of its corpus and of an answer that the head makes.
#include "messages/assert.hpp"
#include "tests/fuzz/enrolment_fuzz.hpp"
#include "tests/fuzz/fuzz_main.hpp"
#include "tests/fuzz/mutation.hpp"

namespace {

using namespace std::string_view_literals;

// Lengths and tags of DER, words of Cap'n Proto, lines of PEM.
constexpr std::string_view pieces[] = {"\x30\x82\xff\xff"sv,
                                       "\x30\x80"sv,
                                       "\x02\x00"sv,
                                       "\x03\x02\x07\x00"sv,
                                       "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"sv,
                                       "\xa0\x00"sv,
                                       "\x00\x00\x00\x00\x00\x00\x00\x00"sv,
                                       "\x02\x00\x00\x00\xff\xff\xff\xff"sv,
                                       "\x01\x00\x00\x00\xff\xff\xff\xff"sv,
                                       "-----BEGIN CERTIFICATE-----\n"sv,
                                       "-----END CERTIFICATE-----\n"sv,
                                       "="sv,
                                       "/"sv,
                                       "collm1/"sv};

}  // namespace

void collm::fuzz::drive(void (&run)(const std::string& bytes), std::uint32_t seed) {
  COLLM_ASSERT(!corpus().empty());
  static const std::string reply =
      std::string(1, static_cast<char>(enrolment_part::reply)) + good_reply();
  std::vector<std::string_view> seeds(corpus().begin(), corpus().end());
  seeds.push_back(reply);
  std::mt19937 random(13 + seed);
  run(reply);
  for (int i = 0; i < 4000; ++i) run(mutated(random, seeds, pieces));
}
