#include "demo/orders.hpp"

#include <nlohmann/json.hpp>

namespace collm::demo {
namespace {

constexpr range minutes{5, 90, 5};
constexpr int draws_max = 12;

range accepted(const device& d, property what) {
  return what == property::timer ? minutes : d.number.values;
}

std::uint32_t any_number(const range& r, rng& random) {
  return r.low + r.step * random.below((r.high - r.low) / r.step + 1);
}

bool has(const device& d, property what) {
  switch (what) {
    case property::door:
      return d.opens;
    case property::power:
      return !d.opens;
    case property::timer:
      return d.timed;
    default:
      return d.number.what == what;
  }
}

bool accepts(const device& d, const order& o) {
  if (!has(d, o.what)) return false;
  if (is_state(o.what) || o.change != 0) return true;
  const range r = accepted(d, o.what);
  return o.number >= r.low && o.number <= r.high && (o.number - r.low) % r.step == 0;
}

property any_property(const device& d, rng& random) {
  if (d.opens) return property::door;
  if (d.timed && random.chance(30)) return property::timer;
  if (d.number.what != property::power && random.chance(70)) return d.number.what;
  return property::power;
}

/// Small steps that people say: 5, 10, 15 or 20; revolutions by hundreds.
std::uint32_t any_change(property what, rng& random) {
  const std::uint32_t step = what == property::speed ? 100 : 5;
  return step * (1 + random.below(4));
}

nlohmann::ordered_json value(const order& o) {
  if (o.what == property::power) return o.number == 1 ? "on" : "off";
  if (o.what == property::door) return o.number == 1 ? "open" : "shut";
  if (o.change == 0) return o.number;
  return (o.change > 0 ? "+" : "-") + std::to_string(o.number);
}

}  // namespace

std::string key(const order& o) {
  const std::string id(o.target->id);
  switch (o.what) {
    case property::temp:
      return id + ".temp";
    case property::level:
      return id + ".level";
    case property::speed:
      return id + ".rpm";
    case property::timer:
      return id + ".min";
    default:
      return id;
  }
}

std::string protocol_line(const order& first, const std::optional<order>& second) {
  nlohmann::ordered_json line;
  line[key(first)] = value(first);
  if (second) line[key(*second)] = value(*second);
  return line.dump();
}

const device& any_device(site where, rng& random) {
  std::uint32_t total = 0;
  for (const device& d : devices()) total += weight(d, where);
  std::uint32_t left = random.below(total);
  for (const device& d : devices()) {
    if (left < weight(d, where)) return d;
    left -= weight(d, where);
  }
  return devices().front();  // not reached: `left` starts below the sum
}

order any_order(site where, rng& random) {
  order o{&any_device(where, random)};
  o.what = any_property(*o.target, random);
  if (is_state(o.what)) {
    o.number = random.below(2);
  } else if (o.what != property::timer && random.chance(15)) {
    o.change = random.chance(50) ? 1 : -1;
    o.number = any_change(o.what, random);
  } else {
    o.number = any_number(accepted(*o.target, o.what), random);
  }
  return o;
}

order other_number(const order& o, rng& random) {
  order other = o;
  if (is_state(o.what)) {
    other.number = 1 - o.number;
    return other;
  }
  while (other.number == o.number)
    other.number = o.change != 0 ? any_change(o.what, random)
                                 : any_number(accepted(*o.target, o.what), random);
  return other;
}

std::optional<order> other_target(const order& o, site where, rng& random) {
  for (int draw = 0; draw < draws_max; ++draw) {
    order other = o;
    other.target = &any_device(where, random);
    if (other.target != o.target && accepts(*other.target, o)) return other;
  }
  return std::nullopt;
}

}  // namespace collm::demo
