// The actor round a site's store of examples; one a node with data. Detached, because it reads and
// writes files.
#pragma once

#include <filesystem>
#include <memory>

#include "actors/interfaces.hpp"
#include "actors/meter.hpp"
#include "store/site_data.hpp"

namespace collm::actors {

struct site_data_deps {
  std::shared_ptr<store::site_data> data;
  /// A JSONL file that is read once, or a folder whose growth is read every `look_again`; empty:
  /// neither.
  std::filesystem::path source = {};
  std::chrono::milliseconds look_again{5000};
  std::string node;
  telemetry_actor telemetry;
  meter_ptr counts;
};

struct site_data_state {
  static inline const char* name = "site_data";
};

/// site_data_actor and its own clock.
using local_site_data_actor = site_data_actor::extend<reacts_to<slot_atom>>;

local_site_data_actor::behavior_type site_data_behavior(
    local_site_data_actor::stateful_pointer<site_data_state> self, site_data_deps deps);

/// What an import took in and what it did not, for people: "120 added, 3 known, 1 bad (a.jsonl:7:
/// no JSON)".
std::string to_string(const store::import_report& report);

}  // namespace collm::actors
