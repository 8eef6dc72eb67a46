#include "cli/cluster_client.hpp"
#include "cli/training_view.hpp"
#include "cli/verbs.hpp"

#include <ostream>

namespace collm::cli {
namespace {

struct round_options {
  cluster_flags cluster;
  std::string adapter, without;
  std::uint32_t number = 0;
};
using options_ptr = std::shared_ptr<round_options>;

/// Sums of all updates of a round again: minutes for a large one.
constexpr std::chrono::minutes replay_max{5};

result<json> rounds_of(const round_options& o) {
  const auto cluster = cluster_client::connect(o.cluster);
  if (!cluster) return cluster.failure();
  return cluster->get("/admin/v1/rounds" + (o.adapter.empty() ? "" : "?adapter=" + o.adapter));
}

int list(console& io, const round_options& o) {
  const auto rounds = rounds_of(o);
  if (!rounds) return io.fail(rounds.failure());
  if (io.wants_json()) return io.print(*rounds), success;
  io.out() << rounds_text(*rounds);
  return success;
}

int show(console& io, const round_options& o) {
  const auto rounds = rounds_of(o);
  if (!rounds) return io.fail(rounds.failure());
  const json* round = find_round(*rounds, o.adapter, o.number);
  if (round == nullptr) {
    return io.fail({errc::not_found, "there is no round " + std::to_string(o.number) +
                                         "; collm round list shows them"});
  }
  if (io.wants_json()) return io.print(*round), success;
  io.out() << round_text(*round, io);
  return success;
}

int replay(console& io, const round_options& o) {
  const auto cluster = cluster_client::connect(o.cluster);
  if (!cluster) return io.fail(cluster.failure());
  const auto done = cluster->post(
      "/admin/v1/rounds/replay",
      {{"adapter", o.adapter}, {"round", o.number}, {"without", o.without}}, replay_max);
  if (!done) return io.fail(done.failure());
  if (io.wants_json()) return io.print(*done), success;
  io.out() << replay_text(*done);
  return success;
}

int close(console& io, const round_options& o) {
  const auto cluster = cluster_client::connect(o.cluster);
  if (!cluster) return io.fail(cluster.failure());
  const auto done = cluster->post("/admin/v1/rounds/close", {{"adapter", o.adapter}});
  if (!done) return io.fail(done.failure());
  if (io.wants_json()) return io.print({{"closed", true}}), success;
  io.out() << "the round is closed with the updates that it has\n";
  return success;
}

verb add_action(CLI::App& parent, const options_ptr& o, const char* name, const char* says) {
  verb v(parent, name, says);
  v.flag("--adapter", o->adapter, "adapter; may be left out where one is trained");
  add_cluster_flags(v, o->cluster);
  return v;
}

}  // namespace

void add_round(program& p) {
  CLI::App* parent =
      p.app.add_subcommand("round", "Rounds of federated training: list, show, replay");
  parent->require_subcommand(1);
  const auto o = std::make_shared<round_options>();
  auto& io = p.io;
  add_action(*parent, o, "list", "List rounds, oldest first").runs(io, p.exit, [&io, o] {
    return list(io, *o);
  });
  verb shown = add_action(*parent, o, "show", "Show one round and what each site gave");
  shown.argument("number", o->number, "round");
  shown.runs(io, p.exit, [&io, o] { return show(io, *o); });
  verb again = add_action(*parent, o, "replay",
                          "Aggregate one round again without one client; nothing goes live");
  again.argument("number", o->number, "round");
  again.flag("--without", o->without, "client, as round show names it, or its node")->required();
  again.runs(io, p.exit, [&io, o] { return replay(io, *o); });
  add_action(*parent, o, "close", "Close the open round now, with the updates that it has")
      .runs(io, p.exit, [&io, o] { return close(io, *o); });
}

}  // namespace collm::cli
