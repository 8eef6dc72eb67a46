// One order to one device: what the protocol says, and a random one that the device can follow.
// Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "demo/devices.hpp"
#include "demo/rng.hpp"

namespace collm::demo {

/// Absolute unless `change` is 1 (more) or -1 (less). States: number 1 is on or open, 0 off or
/// closed.
struct order {
  const device* target = nullptr;
  property what = property::power;
  std::uint32_t number = 0;
  int change = 0;
};

inline bool is_state(property p) { return p == property::power || p == property::door; }

/// "combi.temp" or "combi".
std::string key(const order& o);

/// {"combi.temp":180}, both orders in one object; `second` may be empty.
std::string protocol_line(const order& first, const std::optional<order>& second);

/// A device of the site, drawn by how often it is used there.
const device& any_device(site where, rng& random);

order any_order(site where, rng& random);

/// The same order with another number or state.
order other_number(const order& o, rng& random);

/// The same order to another device of the site that can follow it; nullopt if a few draws find
/// none.
std::optional<order> other_target(const order& o, site where, rng& random);

}  // namespace collm::demo
