#include "demo/speech.hpp"

#include <cctype>
#include <optional>
#include <utility>
#include <vector>

#include "demo/numbers.hpp"
#include "demo/orders.hpp"

namespace collm::demo {
namespace {

/// Percentages: how a site's staff speak. What one site does often the other does rarely.
struct habits {
  std::uint32_t corrects, doubles, elides, words, typos, polite;
};
constexpr habits habits_of[] = {
    {45, 5, 6, 90, 25, 45},  // kitchen
    {4, 50, 40, 8, 12, 20},  // workshop
};

/// Ways to say one thing: for everybody, and for one site's staff only. `%d` is the device, `%v`
/// the value.
struct ways {
  std::vector<const char*> everybody;
  std::vector<const char*> of_site[2];
};

const ways say_on{{"turn on the %d", "switch the %d on"},
                  {{"fire up the %d", "get the %d going"}, {"start the %d", "power up the %d"}}};
const ways say_off{
    {"turn off the %d", "switch the %d off"},
    {{"give the %d a rest", "we are done with the %d"}, {"kill the %d", "shut down the %d"}}};
const ways say_open{{"open the %d"},
                    {{"unlock the %d", "let me through the %d"}, {"raise the %d", "crack the %d"}}};
const ways say_shut{{"close the %d"},
                    {{"lock the %d", "push the %d to"}, {"drop the %d", "seal the %d"}}};
const ways say_dial{{"set the %d to %v"},
                    {{"bring the %d to %v", "the %d should have %v", "%v for the %d"},
                     {"run the %d at %v", "dial %v on the %d", "put %v on the %d"}}};
const ways say_timer{
    {"run the %d for %v"},
    {{"give the %d %v", "the %d needs %v"}, {"%v on the %d clock", "%d timer %v"}}};
const ways say_more{
    {"turn the %d up by %v"},
    {{"give the %d %v more", "the %d wants another %v"}, {"bump the %d %v", "add %v on the %d"}}};
const ways say_less{
    {"turn the %d down by %v"},
    {{"take %v off the %d", "the %d is %v too much"}, {"cut the %d by %v", "back the %d off %v"}}};
const ways say_instead{{"no, %v", "sorry, %v"},
                       {{"no, make it %v", "oh dear, I meant %v", "er, rather %v"},
                        {"scratch that, %v", "correction, %v", "strike that, go %v"}}};
const ways say_leave{{"no, forget the %d"},
                     {{"oh no, leave the %d alone", "well, not the %d after all"},
                      {"belay the %d", "scratch the %d"}}};
const ways say_too{{"the %d too"},
                   {{"the %d as well", "the same with the %d"}, {"ditto the %d", "%d likewise"}}};
const ways say_join{{" and "}, {{", then ", " and then "}, {" plus ", ", also ", "; "}}};
const ways say_before{
    {"please "},
    {{"could you please ", "be so kind and ", "love, "}, {"hey, ", "ok so ", "right, "}}};
const ways say_after{{" please", " thanks"}, {{", chef", ", my dear"}, {", mate", ", cheers"}}};

std::string filled(std::string pattern, const std::string& name, const std::string& value) {
  for (std::size_t at = 0; (at = pattern.find('%', at)) != std::string::npos;) {
    const std::string& word = pattern[at + 1] == 'd' ? name : value;
    pattern.replace(at, 2, word);
    at += word.size();
  }
  return pattern;
}

/// One person saying one utterance; collects the traits as it goes.
class speaker {
 public:
  speaker(site where, site staff, rng& random)
      : where_(where), staff_(staff), habits_(habits_of[static_cast<int>(staff)]), random_(random) {
    if (where != staff) traits_ |= visitor;
  }

  utterance speak() {
    order first = any_order(where_, random_);
    std::optional<order> second;
    std::string text = random_.chance(habits_.doubles) ? two(first, second) : one(first, true);
    text = with_typos(with_manners(std::move(text)));
    return {std::move(text), protocol_line(first, second), traits_};
  }

 private:
  std::string one(order& o, bool may_correct) {
    if (may_correct && random_.chance(habits_.corrects)) return corrected(o);
    return said(o);
  }

  std::string two(order& first, std::optional<order>& second) {
    traits_ |= doubled;
    if (random_.chance(habits_.elides))
      if (auto same = other_target(first, where_, random_)) {
        traits_ |= ellipsis;
        second = *same;
        return said(first) + way(say_join) + filled(way(say_too), name(*same), "");
      }
    order next = another(first);
    std::string text = one(first, true) + way(say_join) + said(next);
    if (random_.chance(habits_.corrects / 3)) {
      traits_ |= correction;
      return text + ", " + filled(way(say_leave), name(next), "");
    }
    second = next;
    return text;
  }

  /// An order with another key: one answer has each key once.
  order another(const order& first) {
    order next = any_order(where_, random_);
    while (next.target == first.target) next = any_order(where_, random_);
    return next;
  }

  std::string corrected(order& o) {
    traits_ |= correction;
    std::string text = said(o);
    auto moved = random_.chance(35) ? other_target(o, where_, random_) : std::nullopt;
    o = moved ? *moved : other_number(o, random_);
    const std::string instead = moved ? "the " + name(o) : value(o, random_.chance(50));
    return text + ", " + filled(way(say_instead), "", instead);
  }

  std::string said(const order& o) {
    const std::string device_name = name(o);
    if (o.change == 0 && random_.chance(habits_.elides / 2)) {
      traits_ |= ellipsis;
      return device_name + " " + value(o, o.what == property::timer);
    }
    return filled(way(ways_for(o)), device_name, value(o, true));
  }

  const ways& ways_for(const order& o) const {
    if (o.what == property::power) return o.number == 1 ? say_on : say_off;
    if (o.what == property::door) return o.number == 1 ? say_open : say_shut;
    if (o.change != 0) return o.change > 0 ? say_more : say_less;
    return o.what == property::timer ? say_timer : say_dial;
  }

  std::string value(const order& o, bool with_unit) {
    if (o.what == property::power) return o.number == 1 ? "on" : "off";
    if (o.what == property::door) return o.number == 1 ? "open" : "shut";
    const bool words = random_.chance(habits_.words);
    traits_ |= words ? worded : digits;
    if (o.change != 0) traits_ |= relative;
    if (o.what == property::timer)
      return words ? minutes_in_words(o.number, random_) : std::to_string(o.number) + " min";
    std::string text = words ? in_words(o.number, random_) : std::to_string(o.number);
    if (with_unit) text += unit(o.what);
    return text;
  }

  const char* unit(property what) const {
    const bool kitchen = staff_ == site::kitchen;
    if (what == property::temp) return kitchen ? " degrees" : " C";
    if (what == property::level) return " percent";
    return kitchen ? " turns" : " rpm";
  }

  std::string name(const order& o) {
    return std::string(random_.pick(spoken_names(*o.target, staff_)));
  }

  /// One in three says it as everybody does, the others as at home.
  const char* way(const ways& w) {
    const auto& at_home = w.of_site[static_cast<int>(staff_)];
    const auto& from = random_.chance(34) ? w.everybody : at_home;
    return random_.pick(std::span<const char* const>(from));
  }

  std::string with_manners(std::string text) {
    if (!random_.chance(habits_.polite)) return text;
    traits_ |= polite;
    return random_.chance(60) ? way(say_before) + text : text + way(say_after);
  }

  std::string with_typos(std::string text) {
    if (!random_.chance(habits_.typos)) return text;
    for (int draw = 0; draw < 8; ++draw) {
      const std::size_t at = 1 + random_.below(static_cast<std::uint32_t>(text.size() - 2));
      if (!std::islower(text[at - 1]) || !std::islower(text[at]) || !std::islower(text[at + 1]))
        continue;
      if (text[at] == text[at + 1]) continue;  // swapping equal letters changes nothing
      traits_ |= typo;
      mistype(text, at);
      break;
    }
    return text;
  }

  void mistype(std::string& text, std::size_t at) {
    switch (random_.below(3)) {
      case 0:
        std::swap(text[at], text[at + 1]);
        break;
      case 1:
        text.erase(at, 1);
        break;
      default:
        text.insert(at, 1, text[at]);
    }
  }

  site where_;
  site staff_;
  const habits& habits_;
  rng& random_;
  std::uint32_t traits_ = 0;
};

}  // namespace

std::string_view to_string(trait t) {
  switch (t) {
    case correction:
      return "correction";
    case doubled:
      return "doubled";
    case ellipsis:
      return "ellipsis";
    case worded:
      return "worded";
    case digits:
      return "digits";
    case typo:
      return "typo";
    case polite:
      return "polite";
    case relative:
      return "relative";
    case visitor:
      break;
  }
  return "visitor";
}

utterance speak(site where, site staff, rng& random) {
  return speaker(where, staff, random).speak();
}

}  // namespace collm::demo
