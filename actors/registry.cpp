#include "actors/registry.hpp"

#include <algorithm>
#include <chrono>

#include "actors/replies.hpp"

namespace collm::actors {

namespace {

using self_ptr = head_registry_actor::stateful_pointer<registry_state>;
using record_reply = reply<msg<schema::VersionRecord>>;

void write(schema::VersionRecord::Builder b, const store::version_row& row) {
  using namespace std::chrono;
  const auto now = duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
  b.setAdapter(row.id.name);
  b.setNumber(row.id.number);
  b.setDigest(row.digest);
  b.setParent(row.parent);
  b.setState(static_cast<schema::VersionState>(row.state));
  b.setRank(row.rank);
  b.setBytes(row.bytes);
  b.setSource(row.source);
  b.setFolder(row.folder);
  b.setAgeMs(static_cast<std::uint64_t>(std::max<std::int64_t>(0, now - row.created_unix_ms)));
}

record_reply answer(const result<store::version_row>& row) {
  if (!row) return make_reply<msg<schema::VersionRecord>>(row.failure());
  return make_reply<msg<schema::VersionRecord>>(record_message(*row));
}

/// A row and what became of it, as an event's kind; null: nothing changed.
struct change {
  result<store::version_row> row;
  const char* kind = nullptr;
};

result<store::version_row> add(const registry_deps& deps, const schema::Register::Reader& r) {
  if (r.getBaseDigest() != deps.base_digest.c_str()) {
    return error{errc::conflict, std::string("adapter '") + r.getAdapter().cStr() +
                                     "' was made for base " +
                                     std::string(r.getBaseDigest().cStr()).substr(0, 12) +
                                     ", this cluster serves " + deps.base_digest.substr(0, 12)};
  }
  store::version_row row;
  row.id.name = r.getAdapter().cStr();
  row.digest = r.getDigest().cStr();
  row.parent = r.getParent();
  row.rank = r.getRank();
  row.bytes = r.getBytes();
  row.source = r.getSource().cStr();
  row.folder = r.getFolder().cStr();
  return deps.versions->add(row);
}

/// These factors have a number already.
result<void> check_known(const registry_deps& deps, const schema::Register::Reader& r) {
  auto rows = deps.versions->list();
  if (!rows) return rows.failure();
  for (const auto& row : *rows)
    if (row.id.name == r.getAdapter().cStr() && row.digest == r.getDigest().cStr()) return {};
  return error{errc::forbidden,
               "node '" + std::string(r.getNode()) + "' starts adapter '" +
                   std::string(r.getAdapter()) + "' with factors " +
                   std::string(r.getDigest()).substr(0, 12) +
                   " that this cluster does not know; a node with placement: remote brings in no "
                   "versions, load them at the head"};
}

/// A new version is stored as a candidate and, as an operator's load passes no gate, promoted at
/// once.
change add_and_promote(const registry_deps& deps, const schema::Register::Reader& r) {
  if (r.getCandidate())
    return {error{errc::forbidden, "candidates come from the rounds at the head; load it instead"}};
  if (r.getKnownOnly()) {
    if (auto there = check_known(deps, r); !there) return {there.failure()};
  }
  auto added = add(deps, r);
  if (!added) return {added.failure()};
  const bool known = added->state != store::version_state::candidate;
  if (known && (r.getAtStart() || added->state == store::version_state::serving)) return {added};
  return {deps.versions->promote(added->id), known ? "version_promoted" : "version_registered"};
}

/// Stays a candidate. The same factors may have a number already: then they are no candidate of
/// this round, and its caller sees whose they are.
change add_candidate(const registry_deps& deps, const schema::Register::Reader& r,
                     const store::version_lineage& made_of) {
  auto added = add(deps, r);
  const bool fresh = added && added->state == store::version_state::candidate &&
                     added->source == r.getSource().cStr();
  if (!fresh) return {added};
  auto known = deps.versions->lineage(added->id);
  if (!known) return {known.failure()};
  if (*known == made_of) return {added};
  if (auto kept = deps.versions->set_lineage(added->id, made_of); !kept) return {kept.failure()};
  return {added, "version_candidate"};
}

bool has_served(store::version_state s) {
  using enum store::version_state;
  return s == serving || s == draining || s == retired || s == rolled_back;
}

/// What was judged against `instead_of` takes its place alone: whoever promoted another version
/// meanwhile was first. One turn of the one owner, so nothing comes between.
change promote_judged(const registry_deps& deps, const version_id& id, std::uint32_t instead_of,
                      const std::string& verdict) {
  auto rows = deps.versions->list();
  if (!rows) return {rows.failure()};
  const store::version_row *row = nullptr, *serving = nullptr;
  for (const auto& r : *rows) {
    if (r.id == id) row = &r;
    if (r.id.name == id.name && r.state == store::version_state::serving) serving = &r;
  }
  if (row == nullptr)
    return {error{errc::not_found, "no version " + to_string(id) + " is registered"}};
  if (has_served(row->state)) return {*row};
  if (serving == nullptr || serving->id.number != instead_of)
    return {error{errc::conflict, to_string(id) + " was judged against " +
                                      to_string({id.name, instead_of}) + "; now " +
                                      (serving ? to_string(serving->id) : "none") + " serves"}};
  return {deps.versions->promote(id, verdict), "version_promoted"};
}

store::version_state state_of(schema::VersionState s) {
  return static_cast<store::version_state>(s);
}

const char* event_of(schema::VersionState s) {
  switch (s) {
    case schema::VersionState::CANARY:
      return "version_canary";
    case schema::VersionState::REJECTED:
      return "version_rejected";
    case schema::VersionState::ROLLED_BACK:
      return "version_rolled_back";
    default:
      return "version_moved";
  }
}

change move(const registry_deps& deps, const version_id& id, schema::VersionState to,
            const std::string& verdict) {
  auto row = deps.versions->find(id);
  if (!row) return {row.failure()};
  const bool there = row->has_value() && (*row)->state == state_of(to);
  return {deps.versions->move(id, state_of(to), verdict), there ? nullptr : event_of(to)};
}

/// By name, in one turn: a caller that looked the number up first could retire an older version.
result<store::version_row> retire(const registry_deps& deps, const std::string& name) {
  auto rows = deps.versions->list();
  if (!rows) return rows.failure();
  std::string serving;
  for (const auto& row : *rows) {
    if (row.state != store::version_state::serving) continue;
    if (row.id.name == name) return deps.versions->retire(row.id);
    serving += (serving.empty() ? "" : ", ") + row.id.name;
  }
  return error{errc::not_found, "no adapter '" + name + "' is serving; serving: " + serving};
}

reply<msg<schema::VersionList>> listed(const registry_deps& deps) {
  auto rows = deps.versions->list();
  if (!rows) return make_reply<msg<schema::VersionList>>(rows.failure());
  return make_reply<msg<schema::VersionList>>(
      msg<schema::VersionList>::build([&](schema::VersionList::Builder b) {
        auto out = b.initVersions(static_cast<std::uint32_t>(rows->size()));
        for (std::uint32_t i = 0; i < rows->size(); ++i) write(out[i], (*rows)[i]);
      }));
}

}  // namespace

msg<schema::VersionRecord> record_message(const store::version_row& row) {
  return msg<schema::VersionRecord>::build(
      [&](schema::VersionRecord::Builder b) { write(b, row); });
}

head_registry_actor::behavior_type registry_behavior(self_ptr self, registry_deps deps) {
  watch(self, deps.counts);
  const auto m = metered(self, deps.counts);
  auto d = std::make_shared<registry_deps>(std::move(deps));
  const auto tell = [self, d](const char* kind, const record_reply& r, const std::string& why) {
    if (!*r || kind == nullptr) return;
    const auto v = (**r).read();
    const version_id id{v->getAdapter().cStr(), v->getNumber()};
    self->send(d->telemetry, event_message(schema::EventLevel::INFO, d->node, kind,
                                           to_string(id) + " (" + v->getSource().cStr() + ")" +
                                               (why.empty() ? "" : ": " + why)));
  };
  const auto told = [tell](const change& c, const std::string& why = "") {
    auto out = answer(c.row);
    tell(c.kind, out, why);
    return out;
  };
  return {
      m([d, tell](const msg<schema::Register>& request) {
        auto r = guard([&] { return add_and_promote(*d, *request.read()); });
        if (!r) return make_reply<msg<schema::VersionRecord>>(r.failure());
        auto out = answer(r->row);
        tell(r->kind, out, "");
        return out;
      }),
      m([d](list_atom) { return listed(*d); }),
      m([d, tell](promote_atom, const version_id& id) {
        auto out = answer(d->versions->promote(id));
        tell("version_promoted", out, "by an operator");
        return out;
      }),
      m([d, tell](rollback_atom, const std::string& name) {
        auto out = answer(d->versions->rollback(name));
        tell("version_rolled_back_to", out, "");
        return out;
      }),
      m([d, tell](unload_atom, const std::string& name) {
        auto out = answer(retire(*d, name));
        tell("version_retired", out, "");
        return out;
      }),
      m([counts = d->counts](status_atom) { return counts->status(); }),
      m([d, told](const msg<schema::Register>& request, const store::version_lineage& made_of) {
        return told(add_candidate(*d, *request.read(), made_of));
      }),
      m([d, told](promote_atom, const version_id& id, std::uint32_t instead_of,
                  const std::string& verdict) {
        return told(promote_judged(*d, id, instead_of, verdict), verdict);
      }),
      m([d, told](move_atom, const version_id& id, schema::VersionState to,
                  const std::string& verdict) { return told(move(*d, id, to, verdict), verdict); }),
  };
}

}  // namespace collm::actors
