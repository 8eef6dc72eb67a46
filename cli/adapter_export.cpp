// `collm adapter export`: factors of a version, from the head, as files for tools outside.
#include <cstdlib>
#include <ostream>

#include "cli/cluster_client.hpp"
#include "cli/manifest_source.hpp"
#include "cli/training_view.hpp"
#include "cli/verbs.hpp"
#include "deploy/adapter_export.hpp"

namespace collm::cli {
namespace {

constexpr std::uint64_t factors_bytes_max = 4ull << 30;

struct export_options {
  cluster_flags cluster;
  std::string version, manifest, peft, gguf;
};

struct fetched {
  std::string bytes, digest;
};

/// All parts of one version's factors; a version that changes on the way is an error, for versions
/// do not change.
result<fetched> fetch_factors(const cluster_client& head, const named_version& wanted) {
  fetched all;
  std::uint64_t total = 0;
  do {
    const auto piece = head.get_bytes("/admin/v1/factors?adapter=" + wanted.adapter +
                                      "&version=" + std::to_string(wanted.number) +
                                      "&at=" + std::to_string(all.bytes.size()));
    if (!piece) return piece.failure();
    const auto digest = piece->header("x-collm-digest");
    if (all.bytes.empty()) {
      all.digest = digest;
      total = std::strtoull(piece->header("x-collm-total").c_str(), nullptr, 10);
    }
    if (digest != all.digest)
      return error{errc::conflict, "another version went live meanwhile; name it as ADAPTER@N"};
    if (piece->body.empty() || total > factors_bytes_max)
      return error{errc::corrupt, "the head's answer about " + wanted.adapter + " has no end"};
    all.bytes += piece->body;
  } while (all.bytes.size() < total);
  return all;
}

int write(console& io, const export_options& o) {
  if (o.peft.empty() && o.gguf.empty())
    return io.fail({errc::bad_request, "say where to: --peft FOLDER, --gguf FILE, or both"});
  const auto wanted = parse_version(o.version);
  if (!wanted) return io.fail(wanted.failure());
  const auto source = read_manifest(o.manifest);
  if (!source) return io.fail(source.failure());
  const auto checked = deploy::make_plan(source->yaml, source->base_dir, deploy::machine::here());
  if (!checked.plan) return report(io, source->name, checked.problems);
  const auto head = cluster_client::connect(o.cluster);
  if (!head) return io.fail(head.failure());
  const auto factors = fetch_factors(*head, *wanted);
  if (!factors) return io.fail(factors.failure());
  const auto* at = reinterpret_cast<const std::uint8_t*>(factors->bytes.data());
  const auto written = deploy::export_adapter(*checked.plan, wanted->adapter,
                                              {at, factors->bytes.size()}, {o.peft, o.gguf});
  if (!written) return io.fail(written.failure());
  if (io.wants_json()) {
    io.print({{"adapter", wanted->adapter},
              {"factors_sha256", factors->digest},
              {"peft", o.peft},
              {"gguf", o.gguf}});
    return success;
  }
  if (!o.peft.empty()) io.out() << "wrote " << o.peft << "\n";
  if (!o.gguf.empty()) io.out() << "wrote " << o.gguf << "\n";
  return success;
}

}  // namespace

void add_adapter_export(program& p, CLI::App& group) {
  verb v(group, "export", "Write a version that rounds made as a PEFT folder or a GGUF LoRA");
  const auto o = std::make_shared<export_options>();
  v.argument("version", o->version, "ADAPTER or ADAPTER@N; without N: what serves");
  v.flag("--peft", o->peft, "PEFT folder to write");
  v.flag("--gguf", o->gguf, "GGUF file to write, for llama.cpp's --lora");
  add_manifest_flag(v, o->manifest);
  add_cluster_flags(v, o->cluster);
  v.runs(p.io, p.exit, [&io = p.io, o] { return write(io, *o); });
}

}  // namespace collm::cli
