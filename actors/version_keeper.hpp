// Which adapter versions a node holds: loads and unloads them on its replicas, and brings them to
// what the registry says serves. A part of the node actor; its thread.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "actors/factors_fetch.hpp"
#include "actors/kept_versions.hpp"
#include "actors/node.hpp"

namespace collm::actors {

class version_keeper {
 public:
  using self_ptr = local_node_actor::stateful_pointer<node_state>;
  using record = msg<schema::VersionRecord>;

  version_keeper(self_ptr self, node_deps deps, std::vector<initial_version> initial);

  caf::result<reply<record>> load(const std::string& name, const std::string& folder);
  /// At this node's own gateway. The registry first: what it calls serving would come back.
  caf::result<reply<record>> unload(const std::string& name);
  /// Retired by the registry: it drains, if it serves or is a canary here.
  void withdraw(const version_id& id);
  /// Factors of a version with this digest, served here or not.
  caf::result<reply<engine::adapter_ptr>> fetch(const version_id& id, const std::string& digest);
  /// Each slot.
  void follow_registry();

 private:
  using record_promise = caf::typed_response_promise<reply<record>>;
  /// Where a version's factors are from, as in its VersionRecord.
  struct origin {
    std::string source, folder;
  };

  bool serves(const std::string& name, const std::string& digest) const;
  bool is_served(const std::string& name) const;
  std::ptrdiff_t resident(const std::string& name) const;
  bool full(const std::string& name) const { return resident(name) >= deps_.resident_max; }
  error too_many(const std::string& name) const;
  msg<schema::Register> registration(const initial_version& v, bool at_start) const {
    return actors::registration(v, deps_.node, deps_.base_digest, at_start);
  }
  void registered(record_promise& promise, const reply<record>& r, const initial_version& v);
  void install(const version_id& id, const engine::adapter_ptr& weights, const origin& from,
               node_state::installed then, schema::VersionState as = schema::VersionState::SERVING);
  void install(const initial_version& v, std::uint32_t number, node_state::installed then);
  void offer(const version_id& id, const engine::adapter_ptr& weights, const origin& from,
             schema::VersionState as);
  void tell(const record& r);
  void retire(const version_id& id);
  void register_initial();
  void initial_registered(const initial_version& v, const reply<record>& r);
  void ask_registry();
  void follow(const msg<schema::VersionList>& list);
  void bring(const version_id& id, const schema::VersionRecord::Reader& wanted,
             schema::VersionState as);
  void fail(const version_id& id, const char* kind, const std::string& why,
            std::chrono::milliseconds wait);
  result<engine::adapter_ptr> factors_of(const schema::VersionRecord::Reader& wanted) const;
  std::set<std::string> resume(const std::vector<initial_version>& initial);
  result<engine::adapter_ptr> kept_factors(const schema::VersionRecord::Reader& served);
  void withdraw_unknown(const schema::VersionList::Reader& list);
  void event(schema::EventLevel level, const char* kind, const std::string& text);

  self_ptr self_;
  node_state& s_;
  const node_deps deps_;
  factors_fetch fetch_;
  kept_versions kept_;
};

}  // namespace collm::actors
