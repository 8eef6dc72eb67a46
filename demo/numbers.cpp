#include "demo/numbers.hpp"

namespace collm::demo {
namespace {

constexpr const char* small[] = {"zero",    "one",     "two",       "three",    "four",
                                 "five",    "six",     "seven",     "eight",    "nine",
                                 "ten",     "eleven",  "twelve",    "thirteen", "fourteen",
                                 "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"};
constexpr const char* tens[] = {"",      "",      "twenty",  "thirty", "forty",
                                "fifty", "sixty", "seventy", "eighty", "ninety"};

std::string below_hundred(std::uint32_t number) {
  if (number < 20) return small[number];
  std::string words = tens[number / 10];
  if (number % 10 != 0) words += std::string(" ") + small[number % 10];
  return words;
}

std::string below_thousand(std::uint32_t number, rng& random) {
  if (number < 100) return below_hundred(number);
  const std::string head = small[number / 100];
  const std::uint32_t rest = number % 100;
  if (rest == 0) return head + " hundred";
  const std::uint32_t way = random.below(3);
  if (way == 0 && rest >= 10) return head + " " + below_hundred(rest);
  return head + (way == 1 ? " hundred " : " hundred and ") + below_hundred(rest);
}

}  // namespace

std::string in_words(std::uint32_t number, rng& random) {
  if (number < 1000) return below_thousand(number, random);
  if (number % 1000 != 0 && number % 100 == 0 && number < 2000 && random.chance(50))
    return below_hundred(number / 100) + " hundred";
  std::string words = std::string(below_hundred(number / 1000)) + " thousand";
  if (number % 1000 != 0) words += " " + below_thousand(number % 1000, random);
  return words;
}

std::string minutes_in_words(std::uint32_t minutes, rng& random) {
  if (random.chance(60)) switch (minutes) {
      case 15:
        return "a quarter of an hour";
      case 30:
        return "half an hour";
      case 60:
        return "an hour";
      case 90:
        return "an hour and a half";
      case 120:
        return "two hours";
      default:
        break;
    }
  return in_words(minutes, random) + " minutes";
}

}  // namespace collm::demo
