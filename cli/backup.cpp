// `collm backup` and `collm restore`: the head's state as a folder of files, and back.
#include "cli/manifest_source.hpp"
#include "cli/verbs.hpp"
#include "deploy/state_backup.hpp"

#include <ostream>

namespace collm::cli {
namespace {

struct backup_options {
  std::string manifest, folder;
};

result<std::filesystem::path> state_of(const backup_options& o) {
  const auto source = read_manifest(o.manifest);
  if (!source) return source.failure();
  return deploy::state_dir_of(source->yaml, source->base_dir);
}

int tell(console& io, const char* what, const std::filesystem::path& folder,
         const result<store::backup_size>& done) {
  if (!done) return io.fail(done.failure());
  if (io.wants_json())
    io.print({{"folder", folder.string()}, {"files", done->files}, {"bytes", done->bytes}});
  else
    io.out() << what << " " << done->files << " files, " << done->bytes
             << " bytes: " << folder.string() << "\n";
  return success;
}

int backup(console& io, const backup_options& o) {
  const auto state = state_of(o);
  if (!state) return io.fail(state.failure());
  return tell(io, "backed up", o.folder, deploy::back_up_head(*state, o.folder));
}

int restore(console& io, const backup_options& o) {
  const auto state = state_of(o);
  if (!state) return io.fail(state.failure());
  return tell(io, "restored", *state, store::restore(o.folder, *state));
}

}  // namespace

void add_backup(program& p) {
  verb v(p.app, "backup",
         "Copy the head's state of one instant into a new folder; the cluster may run");
  const auto o = std::make_shared<backup_options>();
  v.argument("folder", o->folder, "to be made; it will hold the cluster's keys");
  add_manifest_flag(v, o->manifest);
  v.runs(p.io, p.exit, [&io = p.io, o] { return backup(io, *o); });
}

void add_restore(program& p) {
  verb v(p.app, "restore",
         "Make the head's state from a backup, each file checked; the cluster must not run");
  const auto o = std::make_shared<backup_options>();
  v.argument("folder", o->folder, "what collm backup made");
  add_manifest_flag(v, o->manifest);
  v.runs(p.io, p.exit, [&io = p.io, o] { return restore(io, *o); });
}

}  // namespace collm::cli
