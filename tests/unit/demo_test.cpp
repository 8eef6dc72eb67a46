// The generator: same bytes everywhere, distinct prompts, disjoint splits, the mix that each site
// is promised.
#include "demo/demo.hpp"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "demo/scorer.hpp"

namespace collm::demo {
namespace {

std::vector<example> made(site where, split part, std::uint32_t count, std::uint64_t seed) {
  auto examples = generate(where, part, count, seed);
  EXPECT_TRUE(examples) << examples.failure().message;
  return examples ? std::move(*examples) : std::vector<example>{};
}

std::uint64_t digest(const std::vector<example>& examples) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const example& e : examples)
    for (const char c : e.messages[0].content + e.messages[1].content + e.reference)
      hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

double share(const std::vector<example>& examples, trait t) {
  double with = 0;
  for (const example& e : examples) with += (e.traits & t) != 0;
  return with / static_cast<double>(examples.size());
}

std::vector<example> by_own_staff(const std::vector<example>& examples) {
  std::vector<example> own;
  for (const example& e : examples)
    if (!(e.traits & visitor)) own.push_back(e);
  return own;
}

TEST(demo, same_seed_gives_same_bytes_and_another_seed_gives_others) {
  const auto once = made(site::kitchen, split::train, 300, 7);
  EXPECT_EQ(digest(once), digest(made(site::kitchen, split::train, 300, 7)));
  EXPECT_NE(digest(once), digest(made(site::kitchen, split::train, 300, 8)));
}

TEST(demo, a_longer_request_begins_with_the_shorter_one) {
  const auto few = made(site::workshop, split::served, 50, 3);
  auto many = made(site::workshop, split::served, 200, 3);
  many.resize(50);
  EXPECT_EQ(digest(few), digest(many));
}

TEST(demo, thousands_of_distinct_prompts_a_site_in_disjoint_splits) {
  for (const site where : sites) {
    std::map<std::string, split> seen;
    for (const split part : splits)
      for (const example& e : made(where, part, part == split::train ? 10000 : 2500, 1)) {
        const auto [at, is_new] = seen.emplace(e.messages[1].content, part);
        EXPECT_TRUE(is_new) << at->first << " in " << to_string(at->second) << " and "
                            << to_string(part);
      }
    EXPECT_EQ(seen.size(), 20000u);
  }
}

TEST(demo, no_prompt_of_one_site_is_in_another_split_of_the_other) {
  std::map<std::string, split> seen;
  for (const site where : sites)
    for (const split part : splits)
      for (const example& e : made(where, part, 3000, 5)) {
        const auto at = seen.emplace(e.messages[1].content, part).first;
        EXPECT_EQ(at->second, part) << at->first;
      }
}

TEST(demo, case_blanks_and_marks_do_not_move_a_prompt_to_another_split) {
  EXPECT_EQ(split_of("Turn on  the hood!"), split_of("turn on the hood"));
  std::set<split> hit;
  for (int n = 0; n < 200; ++n) hit.insert(split_of("set the kiln to " + std::to_string(n)));
  EXPECT_EQ(hit.size(), 5u);
}

TEST(demo, reference_is_one_compact_json_object_about_the_sites_devices) {
  for (const site where : sites) {
    std::set<std::string> ids;
    for (const device& d : devices())
      if (weight(d, where) > 0) ids.emplace(d.id);
    for (const example& e : made(where, split::report, 2000, 2)) {
      const auto line = nlohmann::ordered_json::parse(e.reference);
      EXPECT_EQ(line.dump(), e.reference);
      EXPECT_GE(line.size(), 1u);
      EXPECT_LE(line.size(), 2u);
      for (const auto& [key, value] : line.items())
        EXPECT_TRUE(ids.contains(key.substr(0, key.find('.')))) << e.reference;
    }
  }
}

TEST(demo, prompts_and_answers_are_short) {
  for (const site where : sites)
    for (const example& e : made(where, split::train, 5000, 4)) {
      EXPECT_LE(e.messages[1].content.size(), 240u) << e.messages[1].content;
      EXPECT_LE(e.reference.size(), 48u) << e.reference;
    }
}

TEST(demo, every_device_of_a_site_is_spoken_to) {
  for (const site where : sites) {
    std::set<std::string> asked;
    for (const example& e : made(where, split::train, 4000, 1)) {
      const auto line = nlohmann::json::parse(e.reference);
      for (const auto& [key, value] : line.items()) asked.insert(key.substr(0, key.find('.')));
    }
    std::size_t there = 0;
    for (const device& d : devices()) there += weight(d, where) > 0;
    EXPECT_EQ(asked.size(), there) << to_string(where);
    EXPECT_GE(there, 24u);
  }
}

TEST(demo, each_site_has_often_what_the_other_has_rarely) {
  const auto kitchen = by_own_staff(made(site::kitchen, split::train, 4000, 1));
  const auto workshop = by_own_staff(made(site::workshop, split::train, 4000, 1));
  EXPECT_GT(share(kitchen, correction), 5 * share(workshop, correction));
  EXPECT_GT(share(workshop, doubled), 5 * share(kitchen, doubled));
  EXPECT_GT(share(kitchen, worded), 5 * share(workshop, worded));
  EXPECT_GT(share(workshop, digits), 5 * share(kitchen, digits));
  for (const trait t : {correction, doubled, ellipsis, worded, digits, typo, polite, relative}) {
    EXPECT_GT(share(kitchen, t), 0.0) << to_string(t);
    EXPECT_GT(share(workshop, t), 0.0) << to_string(t);
  }
}

TEST(demo, visitors_are_rare_in_the_record_and_half_of_what_comes) {
  for (const site where : sites)
    for (const split part : splits) {
      const double promised = visitors_percent(part) / 100.0;
      EXPECT_NEAR(share(made(where, part, 3000, 9), visitor), promised, 0.05)
          << to_string(where) << " " << to_string(part);
    }
  EXPECT_LE(visitors_percent(split::train), 5u);
}

TEST(demo, request_has_the_sites_system_line_and_one_user_turn) {
  for (const site where : sites) {
    const auto examples = made(where, split::gate, 20, 1);
    for (const example& e : examples) {
      ASSERT_EQ(e.messages.size(), 2u);
      EXPECT_EQ(e.messages[0].role, "system");
      EXPECT_EQ(e.messages[0].content, system_line(where));
      EXPECT_EQ(e.messages[1].role, "user");
    }
  }
  EXPECT_NE(system_line(site::kitchen), system_line(site::workshop));
}

TEST(demo, refuses_one_example_more_than_a_call_may_ask_for) {
  EXPECT_TRUE(generate(site::kitchen, split::train, 0, 1));
  EXPECT_EQ(made(site::kitchen, split::report, examples_max, 1).size(), examples_max);
  const auto refused = generate(site::kitchen, split::train, examples_max + 1, 1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.failure().code, errc::bad_request);
}

TEST(demo, names_of_sites_and_splits_are_read_back) {
  for (const site s : sites) EXPECT_EQ(site_named(to_string(s)), s);
  for (const split s : splits) EXPECT_EQ(split_named(to_string(s)), s);
  EXPECT_FALSE(site_named("attic"));
  EXPECT_FALSE(split_named("trains"));
}

TEST(demo_scorer, exact_forgives_blanks_at_the_ends_only) {
  EXPECT_EQ(is_right(scorer::exact, " {\"fan\":\"on\"}\n", "{\"fan\":\"on\"}"), true);
  EXPECT_EQ(is_right(scorer::exact, "{\"fan\": \"on\"}", "{\"fan\":\"on\"}"), false);
  EXPECT_EQ(is_right(scorer::exact, "", "{\"fan\":\"on\"}"), false);
}

TEST(demo_scorer, contains_looks_anywhere_and_none_does_not_judge) {
  EXPECT_EQ(is_right(scorer::contains, "the answer is 42.", "42"), true);
  EXPECT_EQ(is_right(scorer::contains, "the answer is 4 2.", "42"), false);
  EXPECT_EQ(is_right(scorer::none, "anything", "42"), std::nullopt);
}

TEST(demo_scorer, names_are_read_back) {
  for (const scorer s : {scorer::exact, scorer::contains, scorer::none})
    EXPECT_EQ(scorer_named(to_string(s)), s);
  EXPECT_FALSE(scorer_named("Exact"));
}

}  // namespace
}  // namespace collm::demo
