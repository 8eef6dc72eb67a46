#include "deploy/state_backup.hpp"

namespace collm::deploy {

namespace fs = std::filesystem;

result<fs::path> state_dir_of(std::string_view yaml, const fs::path& base_dir) {
  const manifest_check checked = parse_manifest(yaml);
  if (!checked.value)
    return error{errc::bad_request, "the manifest does not parse; collm validate names each place"};
  const fs::path state = checked.value->head.state_dir;
  return fs::absolute(state.is_absolute() ? state : base_dir / state).lexically_normal();
}

result<store::backup_size> back_up_head(const fs::path& state_dir, const fs::path& to) {
  return store::back_up(state_dir,
                        {.databases = {"registry.db", "rounds.db", "jobs.db"},
                         .folders = {"rounds", "link"},
                         .files = {"cluster.yaml"}},
                        to);
}

}  // namespace collm::deploy
