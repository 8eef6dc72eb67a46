#include "actors/replies.hpp"

namespace collm::actors {

std::vector<coordinator::known_version> registered_versions(
    const schema::VersionList::Reader& list) {
  std::vector<coordinator::known_version> out;
  for (const auto v : list.getVersions()) {
    out.push_back({{v.getAdapter().cStr(), v.getNumber()},
                   v.getDigest().cStr(),
                   v.getState() == schema::VersionState::SERVING,
                   v.getState() == schema::VersionState::CANARY});
  }
  return out;
}

error error_of(const schema::Reject::Reader& r) {
  error e{errc::internal, std::string(r.getMessage().cStr(), r.getMessage().size()),
          r.getRetryAfterMs()};
  for (int c = 0; c <= static_cast<int>(errc::internal); ++c) {
    const auto code = static_cast<errc>(c);
    if (to_string(code) == std::string_view(r.getCode().cStr(), r.getCode().size())) e.code = code;
  }
  return e;
}

}  // namespace collm::actors
