#include "deploy/state_backup.hpp"

#include <fstream>
#include <iterator>

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

result<restored_head> restore_head(const fs::path& from, const fs::path& state_dir) {
  const auto made = store::restore(from, state_dir, store::real_disk(), {"link/nodes.txt"});
  if (!made) return made.failure();
  restored_head out{*made, {}};
  std::ifstream in(state_dir / "cluster.yaml", std::ios::binary);
  const auto ran = parse_manifest(std::string(std::istreambuf_iterator<char>(in), {}));
  if (!ran.value) return out;  // none was running, or one of another release
  for (const auto& n : ran.value->nodes)
    if (n.where == placement::remote) out.join_anew.push_back(n.name);
  return out;
}

}  // namespace collm::deploy
