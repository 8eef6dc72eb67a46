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

std::string size_text(const char* what, const std::filesystem::path& folder,
                      const store::backup_size& size) {
  return std::string(what) + " " + std::to_string(size.files) + " files, " +
         std::to_string(size.bytes) + " bytes: " + folder.string() + "\n";
}

json size_json(const std::filesystem::path& folder, const store::backup_size& size) {
  return {{"folder", folder.string()}, {"files", size.files}, {"bytes", size.bytes}};
}

int backup(console& io, const backup_options& o) {
  const auto state = state_of(o);
  if (!state) return io.fail(state.failure());
  const auto size = deploy::back_up_head(*state, o.folder);
  if (!size) return io.fail(size.failure());
  if (io.wants_json())
    io.print(size_json(o.folder, *size));
  else
    io.out() << size_text("backed up", o.folder, *size);
  return success;
}

int restore(console& io, const backup_options& o) {
  const auto state = state_of(o);
  if (!state) return io.fail(state.failure());
  const auto done = deploy::restore_head(o.folder, *state);
  if (!done) return io.fail(done.failure());
  if (io.wants_json()) {
    auto document = size_json(*state, done->size);
    document["join_anew"] = done->join_anew;
    return io.print(document), success;
  }
  io.out() << size_text("restored", *state, done->size);
  for (const auto& node : done->join_anew)
    io.out() << "node " << node << " joins anew: collm join-token --node " << node << "\n";
  return success;
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
