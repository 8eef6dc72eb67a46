// The built-in demo workload: what two sites of one company say to their devices, and the right
// line of device protocol. Seeded and without a clock: the same call gives the same bytes on every
// machine. Pure; any thread.
//
// A site's record (`train`) is what was said there so far, nearly all by its own staff. From now on
// (every other split) the staff of both sites take turns: half of what is said at a site comes from
// visitors, in the words and habits of the other site, about the devices of this one. That is why a
// site's own data alone is not enough.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "demo/devices.hpp"
#include "demo/speech.hpp"
#include "messages/result.hpp"

namespace collm::demo {

/// Disjoint by construction: the letters and digits of a prompt decide its split, at both sites
/// alike.
enum class split : std::uint8_t { train, gate, canary, served, report };
inline constexpr split splits[] = {split::train, split::gate, split::canary, split::served,
                                   split::report};

std::string_view to_string(split s);
std::optional<split> split_named(std::string_view name);
std::optional<site> site_named(std::string_view name);

struct message {
  std::string role;  ///< "system", "user"
  std::string content;
};

struct example {
  std::vector<message> messages;
  std::string reference;  ///< the one right answer; scorer: exact
  std::uint32_t traits = 0;
};

/// Share of a site's utterances that come from the other site's staff, in percent.
std::uint32_t visitors_percent(split s);

/// Where a prompt belongs, whatever its case, blanks and marks.
split split_of(std::string_view prompt);

/// The system message of every request at the site.
std::string system_line(site where);

inline constexpr std::uint32_t examples_max = 20000;  ///< of one call

/// `count` examples with distinct prompts. Another seed gives another sequence over the same split.
result<std::vector<example>> generate(site where, split part, std::uint32_t count,
                                      std::uint64_t seed);

/// One chat with its answer a line, as a site's store reads it; with `traits` for those who want to
/// tell phenomena apart.
std::string jsonl(const std::vector<example>& examples);

}  // namespace collm::demo
