#include "actors/kept_versions.hpp"

#include <span>

#include "actors/round_messages.hpp"
#include "engine/adapter/adapter.hpp"

namespace collm::actors {

msg<schema::VersionList> kept_versions::list() {
  const auto none = msg<schema::VersionList>::build([](schema::VersionList::Builder) {});
  if (!on_) return none;
  const auto bytes = on_->list();
  if (!bytes && bytes.failure().code == errc::not_found) return none;
  const auto list = bytes ? msg<schema::VersionList>::from_bytes(*bytes)
                          : result<msg<schema::VersionList>>(bytes.failure());
  if (list) return *list;
  not_resumed(list.failure().message);
  return none;
}

void kept_versions::not_resumed(const std::string& why) {
  whole_ = false;
  warn_("not_resumed", why);
}

void kept_versions::keep(const std::map<version_id, node_state::resident>& versions) {
  const bool may = resuming_ == 0 && (whole_ || heard_registry_);
  if (!on_ || !changed_ || !may) return;
  serving now;
  std::set<std::string> digests;
  for (const auto& [id, v] : versions) {
    if (v.state != schema::VersionState::SERVING) continue;
    now.emplace(id, &v);
    digests.insert(v.weights->digest);
  }
  auto kept = keep_factors(now);
  if (kept) kept = keep_list(now);
  changed_ = !kept;
  if (kept) kept = on_->keep_only(digests);
  const auto why = kept ? "" : kept.failure().message;
  if (!kept && why != hindrance_) warn_("not_kept", why);
  hindrance_ = why;
}

result<void> kept_versions::keep_factors(const serving& versions) {
  for (const auto& [id, v] : versions) {
    const auto& digest = v->weights->digest;
    const bool there = on_->has_factors(digest) && !unfit_.contains(digest);
    if (there || !made_by_round(v->source)) continue;
    const auto values = factors_of_(*v->weights);
    if (auto kept = on_->keep_factors(digest, std::as_bytes(std::span(values))); !kept) return kept;
    unfit_.erase(digest);
  }
  return {};
}

result<void> kept_versions::keep_list(const serving& versions) {
  const auto list = msg<schema::VersionList>::build([&](schema::VersionList::Builder b) {
    auto rows = b.initVersions(static_cast<std::uint32_t>(versions.size()));
    std::uint32_t i = 0;
    for (const auto& [id, v] : versions) {
      auto row = rows[i++];
      row.setAdapter(id.name);
      row.setNumber(id.number);
      row.setDigest(v->weights->digest);
      row.setSource(v->source);
      row.setFolder(v->folder);
    }
  });
  return on_->keep_list(list.bytes());
}

}  // namespace collm::actors
