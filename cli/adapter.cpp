#include "cli/cluster_client.hpp"
#include "cli/plan_view.hpp"
#include "cli/verbs.hpp"
#include "deploy/adapter_gguf.hpp"

#include <filesystem>
#include <ostream>

namespace collm::cli {
namespace {

constexpr std::chrono::minutes load_max{5};

struct adapter_options {
  cluster_flags cluster;
  std::string name, folder, model, file;
};
using options_ptr = std::shared_ptr<adapter_options>;

int show_record(console& io, const result<json>& record, const char* what) {
  if (!record) return io.fail(record.failure());
  if (io.wants_json()) {
    io.print(*record);
  } else {
    io.out() << text(*record, "adapter") << "@" << static_cast<unsigned>(number(*record, "number"))
             << " " << what << " (" << text(*record, "source", "-") << ", sha256 "
             << text(*record, "digest").substr(0, 12) << ")\n";
  }
  return success;
}

int load(console& io, const adapter_options& o) {
  const auto cluster = cluster_client::connect(o.cluster);
  if (!cluster) return io.fail(cluster.failure());
  // The cluster reads the folder itself and has another current folder.
  const std::string folder = std::filesystem::absolute(o.folder).lexically_normal().string();
  return show_record(io,
                     cluster->post("/v1/load_lora_adapter",
                                   {{"lora_name", o.name}, {"lora_path", folder}}, load_max),
                     "serves");
}

int unload(console& io, const adapter_options& o) {
  const auto cluster = cluster_client::connect(o.cluster);
  if (!cluster) return io.fail(cluster.failure());
  return show_record(io,
                     cluster->post("/v1/unload_lora_adapter", {{"lora_name", o.name}}, load_max),
                     "is unloaded");
}

int list(console& io, const adapter_options& o) {
  const auto cluster = cluster_client::connect(o.cluster);
  if (!cluster) return io.fail(cluster.failure());
  const auto models = cluster->get("/v1/models");
  if (!models) return io.fail(models.failure());
  if (io.wants_json()) return io.print(*models), success;
  std::vector<std::vector<std::string>> rows = {{"MODEL", "PARENT", "FROM"}};
  const json& data = part(*models, "data");
  if (data.is_array()) {
    for (const json& m : data)
      rows.push_back({text(m, "id"), text(m, "parent", "-"), text(m, "root", "-")});
  }
  io.out() << table(rows);
  return success;
}

int write_gguf(console& io, const adapter_options& o) {
  if (auto written = deploy::write_adapter_gguf(o.model, o.folder, o.file); !written)
    return io.fail(written.failure());
  if (io.wants_json())
    io.print({{"file", o.file}});
  else
    io.out() << "wrote " << o.file << "\n";
  return success;
}

/// Needs no cluster.
void add_gguf(program& p, CLI::App& parent, const options_ptr& o) {
  verb v(parent, "gguf", "Write a PEFT folder as a GGUF LoRA, for llama.cpp's --lora");
  v.argument("model", o->model, "what it was made for: a .gguf file or a Hugging Face folder");
  v.argument("folder", o->folder, "PEFT folder");
  v.argument("file", o->file, "the GGUF file to write");
  v.runs(p.io, p.exit, [&io = p.io, o] { return write_gguf(io, *o); });
}

void add_action(program& p, CLI::App& parent, const options_ptr& o, const char* name,
                const char* says, bool named, bool with_folder,
                int (*body)(console&, const adapter_options&)) {
  verb v(parent, name, says);
  if (named) v.argument("name", o->name, "adapter name");
  if (with_folder)
    v.argument("folder", o->folder, "PEFT folder: adapter_config.json, adapter_model.safetensors");
  add_cluster_flags(v, o->cluster);
  v.runs(p.io, p.exit, [&io = p.io, o, body] { return body(io, *o); });
}

}  // namespace

void add_adapter(program& p) {
  CLI::App* parent = p.app.add_subcommand(
      "adapter", "Load, unload, list and export adapters of a running cluster");
  parent->require_subcommand(1);
  const auto o = std::make_shared<adapter_options>();
  add_action(p, *parent, o, "load", "Load a PEFT folder on every node; it serves at once", true,
             true, load);
  add_action(p, *parent, o, "unload", "Unload an adapter; running requests finish first", true,
             false, unload);
  add_action(p, *parent, o, "list", "List the base, the adapters and their versions", false, false,
             list);
  add_gguf(p, *parent, o);
  add_adapter_export(p, *parent);
}

}  // namespace collm::cli
