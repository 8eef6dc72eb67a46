#include "coordinator/following.hpp"

#include <algorithm>
#include <cctype>

namespace collm::coordinator {

namespace {

constexpr std::size_t name_bytes_max = 63;  // as the manifest's names

bool same(const known_version& a, const known_version& b) {
  return a.id == b.id && a.digest == b.digest;
}

void follow_canaries(std::span<const known_version> registered, std::span<const known_version> here,
                     steps_to_follow& out) {
  for (const auto& wanted : registered) {
    const bool there = std::any_of(here.begin(), here.end(), [&](const auto& v) {
      return (v.canary || v.serving) && same(v, wanted);
    });
    if (wanted.canary && !there) out.try_out.push_back(wanted.id);
  }
  for (const auto& v : here) {
    const bool wanted = std::any_of(registered.begin(), registered.end(), [&](const auto& r) {
      return (r.canary || r.serving) && same(r, v);
    });
    if (v.canary && !wanted) out.give_up.push_back(v.id);
  }
}

}  // namespace

steps_to_follow follow(std::span<const known_version> registered,
                       std::span<const known_version> here) {
  steps_to_follow out;
  for (const auto& wanted : registered) {
    if (!wanted.serving) continue;
    const bool there = std::any_of(here.begin(), here.end(),
                                   [&](const auto& v) { return v.serving && same(v, wanted); });
    if (!there) out.load.push_back(wanted.id);
  }
  for (const auto& v : here) {
    if (!v.serving) continue;
    const bool withdrawn = std::any_of(registered.begin(), registered.end(), [&](const auto& r) {
      return r.id == v.id && (!r.serving || r.digest != v.digest);
    });
    const bool replaced = std::any_of(registered.begin(), registered.end(), [&](const auto& r) {
      return r.serving && r.id.name == v.id.name;
    });
    const bool in_the_way = std::any_of(registered.begin(), registered.end(), [&](const auto& r) {
      return r.serving && r.id == v.id && r.digest != v.digest;
    });
    if ((withdrawn && !replaced) || in_the_way) out.retire.push_back(v.id);
  }
  follow_canaries(registered, here, out);
  return out;
}

std::string adapter_name_fault(const std::string& name, const std::string& base_name) {
  const auto plain = [](unsigned char c) { return std::isalnum(c) != 0; };
  const bool clean =
      !name.empty() && name.size() <= name_bytes_max && plain(name.front()) && plain(name.back()) &&
      std::all_of(name.begin(), name.end(),
                  [&](unsigned char c) { return plain(c) || c == '-' || c == '_' || c == '.'; });
  if (!clean)
    return "at most 63 letters, digits and inner '.', '_', '-' would be right, such as assistant";
  if (name == base_name || name == "base")
    return "that is the base itself, which requests ask for by this name; any other would be right";
  return "";
}

}  // namespace collm::coordinator
