// How orders are worded: what is said must be what the protocol line tells.
#include "demo/speech.hpp"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "demo/numbers.hpp"
#include "demo/orders.hpp"

namespace collm::demo {
namespace {

bool says_a_name_of(const std::string& text, const device& d, site staff) {
  for (const std::string_view name : spoken_names(d, staff))
    if (text.find(name) != std::string::npos) return true;
  return false;
}

const device& with_id(std::string_view id) {
  for (const device& d : devices())
    if (d.id == id) return d;
  throw std::runtime_error("no device " + std::string(id));
}

TEST(demo_rng, gives_the_published_numbers) {
  rng random(1234567);
  EXPECT_EQ(random.next(), 6457827717110365317u);  // the reference implementation's first two
  EXPECT_EQ(random.next(), 3203168211198807973u);
}

TEST(demo_rng, below_stays_below_and_reaches_all) {
  rng random(1);
  std::set<std::uint32_t> seen;
  for (int n = 0; n < 200; ++n) seen.insert(random.below(7));
  EXPECT_EQ(seen.size(), 7u);
  EXPECT_EQ(*seen.rbegin(), 6u);
}

std::set<std::string> ways_to_say(std::uint32_t number) {
  std::set<std::string> ways;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    rng random(seed);
    ways.insert(in_words(number, random));
  }
  return ways;
}

TEST(demo_numbers, are_said_in_all_usual_ways) {
  using said = std::set<std::string>;
  EXPECT_EQ(ways_to_say(0), said{"zero"});
  EXPECT_EQ(ways_to_say(19), said{"nineteen"});
  EXPECT_EQ(ways_to_say(40), said{"forty"});
  EXPECT_EQ(ways_to_say(45), said{"forty five"});
  EXPECT_EQ(ways_to_say(300), said{"three hundred"});
  EXPECT_EQ(ways_to_say(185),
            (said{"one hundred and eighty five", "one hundred eighty five", "one eighty five"}));
  EXPECT_EQ(ways_to_say(105), (said{"one hundred and five", "one hundred five"}));
  EXPECT_EQ(ways_to_say(1200), (said{"one thousand two hundred", "twelve hundred"}));
  EXPECT_EQ(ways_to_say(2000), said{"two thousand"});
}

TEST(demo_numbers, are_never_ambiguous) {
  std::map<std::string, std::uint32_t> meaning;
  for (std::uint32_t number = 0; number <= 3000; number += 5)
    for (const std::string& words : ways_to_say(number)) {
      const auto [at, is_new] = meaning.emplace(words, number);
      EXPECT_TRUE(is_new) << words << " is " << at->second << " and " << number;
    }
}

TEST(demo_numbers, minutes_have_names_for_parts_of_hours) {
  std::set<std::string> ways;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    rng random(seed);
    ways.insert(minutes_in_words(90, random));
  }
  EXPECT_EQ(ways, (std::set<std::string>{"an hour and a half", "ninety minutes"}));
}

TEST(demo_devices, a_name_means_one_device_for_one_staff) {
  for (const site staff : sites) {
    std::map<std::string_view, std::string_view> meaning;
    for (const device& d : devices())
      for (const std::string_view name : spoken_names(d, staff))
        EXPECT_TRUE(meaning.emplace(name, d.id).second)
            << name << " is " << meaning[name] << " and " << d.id;
  }
}

TEST(demo_devices, ids_are_unique_and_every_device_has_several_names) {
  std::set<std::string_view> ids;
  for (const device& d : devices()) {
    EXPECT_TRUE(ids.insert(d.id).second) << d.id;
    for (const site staff : sites) EXPECT_GE(spoken_names(d, staff).size(), 2u) << d.id;
  }
}

TEST(demo_devices, a_shared_device_has_other_names_at_the_other_site_and_is_rarer_at_one) {
  int shared = 0;
  for (const device& d : devices()) {
    if (!is_shared(d)) continue;
    ++shared;
    EXPECT_NE(d.weight_kitchen, d.weight_workshop) << d.id;
    for (const std::string_view name : spoken_names(d, site::kitchen))
      for (const std::string_view other : spoken_names(d, site::workshop)) EXPECT_NE(name, other);
  }
  EXPECT_GE(shared, 12);
}

TEST(demo_orders, two_orders_stand_in_one_object_in_the_order_said) {
  const order warm{&with_id("combi"), property::temp, 180, 0};
  const order off{&with_id("air"), property::power, 0, 0};
  EXPECT_EQ(protocol_line(warm, off), R"({"combi.temp":180,"air":"off"})");
  EXPECT_EQ(protocol_line(off, warm), R"({"air":"off","combi.temp":180})");
  EXPECT_EQ(protocol_line(off, std::nullopt), R"({"air":"off"})");
}

TEST(demo_orders, each_property_has_its_key_and_value) {
  const device& any = with_id("stone");
  EXPECT_EQ(protocol_line({&any, property::speed, 900, 0}, {}), R"({"stone.rpm":900})");
  EXPECT_EQ(protocol_line({&any, property::timer, 25, 0}, {}), R"({"stone.min":25})");
  EXPECT_EQ(protocol_line({&any, property::speed, 100, -1}, {}), R"({"stone.rpm":"-100"})");
  EXPECT_EQ(protocol_line({&with_id("lamps"), property::level, 10, 1}, {}),
            R"({"lamps.level":"+10"})");
  EXPECT_EQ(protocol_line({&with_id("bay"), property::door, 1, 0}, {}), R"({"bay":"open"})");
  EXPECT_EQ(protocol_line({&with_id("bay"), property::door, 0, 0}, {}), R"({"bay":"shut"})");
}

TEST(demo_orders, are_within_what_the_device_accepts) {
  rng random(3);
  for (int n = 0; n < 4000; ++n) {
    const order o = any_order(n % 2 ? site::kitchen : site::workshop, random);
    EXPECT_EQ(o.what == property::door, o.target->opens);
    if (o.what == property::timer) {
      EXPECT_TRUE(o.target->timed);
    }
    if (is_state(o.what) || o.what == property::timer || o.change != 0) continue;
    ASSERT_EQ(o.what, o.target->number.what);
    const range r = o.target->number.values;
    EXPECT_TRUE(o.number >= r.low && o.number <= r.high && (o.number - r.low) % r.step == 0);
  }
}

TEST(demo_orders, another_number_differs_and_another_target_can_follow) {
  rng random(5);
  for (int n = 0; n < 2000; ++n) {
    const order o = any_order(site::kitchen, random);
    EXPECT_NE(other_number(o, random).number, o.number);
    const auto moved = other_target(o, site::kitchen, random);
    if (!moved) continue;
    EXPECT_NE(moved->target, o.target);
    EXPECT_EQ(moved->number, o.number);
    EXPECT_GT(moved->target->weight_kitchen, 0);
  }
}

TEST(demo_speech, names_every_device_of_the_answer_in_the_speakers_words) {
  for (const site where : sites)
    for (const site staff : sites) {
      rng random(11);
      for (int n = 0; n < 1500; ++n) {
        const utterance u = speak(where, staff, random);
        if (u.traits & typo) continue;
        const auto line = nlohmann::json::parse(u.answer);
        for (const auto& [key, value] : line.items())
          EXPECT_TRUE(says_a_name_of(u.text, with_id(key.substr(0, key.find('.'))), staff))
              << u.text << " => " << u.answer;
      }
    }
}

TEST(demo_speech, says_every_number_of_the_answer) {
  rng random(13);
  for (int n = 0; n < 3000; ++n) {
    const utterance u = speak(site::workshop, site::workshop, random);
    if ((u.traits & typo) || (u.traits & worded)) continue;
    const auto line = nlohmann::json::parse(u.answer);
    for (const auto& [key, value] : line.items())
      if (value.is_number()) {
        EXPECT_NE(u.text.find(value.dump()), std::string::npos) << u.text << " => " << u.answer;
      }
  }
}

TEST(demo_speech, two_orders_give_two_keys_unless_one_was_taken_back) {
  rng random(17);
  int two = 0, taken_back = 0;
  for (int n = 0; n < 4000; ++n) {
    const utterance u = speak(site::kitchen, n % 2 ? site::kitchen : site::workshop, random);
    const std::size_t keys = nlohmann::json::parse(u.answer).size();
    if (!(u.traits & doubled)) {
      EXPECT_EQ(keys, 1u) << u.text;
    } else if (keys == 1) {
      ++taken_back;
      EXPECT_TRUE(u.traits & correction) << u.text << " => " << u.answer;
    } else {
      ++two;
    }
  }
  EXPECT_GT(two, 500);
  EXPECT_GT(taken_back, 0);
}

TEST(demo_speech, a_typing_error_changes_the_text) {
  rng random(19);
  int seen = 0;
  for (int n = 0; n < 1000; ++n) {
    const utterance u = speak(site::kitchen, site::kitchen, random);
    seen += (u.traits & typo) != 0;
    EXPECT_EQ(u.text.find('%'), std::string::npos) << u.text;
  }
  EXPECT_GT(seen, 150);
}

TEST(demo_speech, every_trait_has_its_own_name) {
  std::set<std::string_view> names;
  for (std::uint32_t bit = 1; bit < traits_end; bit <<= 1)
    names.insert(to_string(static_cast<trait>(bit)));
  EXPECT_EQ(names.size(), 9u);
}

}  // namespace
}  // namespace collm::demo
