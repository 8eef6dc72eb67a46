#include "deploy/node_training.hpp"

#include <algorithm>

#include "actors/replies.hpp"
#include "actors/shadow.hpp"
#include "demo/demo.hpp"
#include "deploy/actor_system.hpp"
#include "deploy/initial_versions.hpp"
#include "deploy/training_samples.hpp"
#include "deploy/unit_probe.hpp"

namespace collm::deploy {

namespace {

using namespace actors;
namespace fs = std::filesystem;

constexpr std::string_view builtin_prefix = "builtin:";
// The built-in sites' records, and what their gates and canaries look at.
constexpr std::uint32_t builtin_train = 3000, builtin_held_out = 96;
constexpr std::uint64_t builtin_seed = 7;
constexpr std::uint32_t sample_tokens_max = 512;

struct builtin_part {
  demo::split from;
  store::data_set set;
  std::uint32_t count;
};
constexpr builtin_part builtin_parts[] = {
    {demo::split::train, store::data_set::train, builtin_train},
    {demo::split::gate, store::data_set::gate, builtin_held_out},
    {demo::split::canary, store::data_set::canary, builtin_held_out}};

result<void> read_builtin(store::site_data& into, const std::string& name) {
  const auto site = demo::site_named(name);
  if (!site) return error{errc::bad_request, "there is no built-in data \"" + name + "\""};
  for (const auto& part : builtin_parts) {
    const auto examples = demo::generate(*site, part.from, part.count, builtin_seed);
    if (!examples) return examples.failure();
    const auto report = into.import_text(name, demo::jsonl(*examples), part.set);
    if (!report) return report.failure();
    if (report->bad > 0)
      return error{errc::bad_request, "built-in data: " + actors::to_string(*report)};
  }
  return {};
}

result<std::shared_ptr<store::site_data>> open_data(const fs::path& folder,
                                                    const std::string& source) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) return error{errc::io, "cannot make " + folder.string() + ": " + failed.message()};
  auto opened = store::site_data::open(folder / "data.db");
  if (!opened) return opened.failure();
  std::shared_ptr<store::site_data> data = std::move(*opened);
  if (source.starts_with(builtin_prefix)) {
    if (auto read = read_builtin(*data, source.substr(builtin_prefix.size())); !read)
      return read.failure();
  }
  return data;
}

/// The largest units of `adapter` that end within the manifest's maxUnit on this machine.
result<coordinator::unit_sizes> measured_sizes(const spawn_plan& plan, const opened_model& model,
                                               const std::string& adapter,
                                               const engine::training_options& options) {
  auto parents = initial_versions(plan, model.base);
  if (!parents) return parents.failure();
  const auto parent = std::find_if(parents->begin(), parents->end(),
                                   [&](const auto& v) { return v.name == adapter; });
  if (parent == parents->end())
    return error{errc::not_found, "the manifest has no adapter '" + adapter + "'"};
  return probe_unit_sizes(model.base, parent->weights, options, plan.training.max_unit_ms);
}

/// Shadows of one adapter in one node are alike, so its units are measured once.
result<coordinator::unit_sizes> sizes_of(const spawn_plan& plan, const node_plan& node,
                                         const opened_model& model, const std::string& adapter,
                                         const engine::training_options& options) {
  const auto spec = std::find_if(plan.adapters.begin(), plan.adapters.end(),
                                 [&](const auto& a) { return a.name == adapter; });
  const auto whole = spec == plan.adapters.end() ? 0 : spec->rank;
  const auto rank = options.rank != 0 ? std::min(options.rank, whole) : whole;
  const auto what = model.base_digest + " " + engine::kernel_path() + " rank " +
                    std::to_string(rank) + " threads " + std::to_string(options.threads) +
                    " maxUnit " + std::to_string(plan.training.max_unit_ms);
  return kept_unit_sizes(site_folder(plan, node) / ("units-" + adapter), what,
                         [&] { return measured_sizes(plan, model, adapter, options); });
}

}  // namespace

fs::path site_folder(const spawn_plan& plan, const node_plan& node) {
  return plan.head.state_dir / "sites" / node.site / node.name;
}

engine::training_options training_options_of(const spawn_plan& plan, const node_plan& node,
                                             const federation_spec& federation) {
  engine::training_options o;
  o.learning_rate = static_cast<float>(plan.training.learning_rate);
  o.warmup_steps = plan.training.warmup_steps;
  o.clip = static_cast<float>(plan.training.clip);
  o.weight_decay = static_cast<float>(plan.training.weight_decay);
  o.lora_plus_ratio = static_cast<float>(plan.training.lora_plus_ratio);
  if (plan.training.cosine_steps != 0) {
    o.schedule = engine::rate_schedule::cosine;
    o.total_steps = plan.training.cosine_steps;
  }
  o.prox_mu = static_cast<float>(federation.strategy.prox);
  for (const auto& r : federation.ranks)
    if (r.site == node.site) o.rank = r.rank;
  o.batch_tokens = plan.training.batch_tokens;
  o.sample_tokens =
      std::min({plan.training.batch_tokens, sample_tokens_max, plan.model.shape.context});
  o.threads = node.threads;
  return o;
}

result<std::unique_ptr<node_training>> node_training::start(caf::actor_system& system,
                                                            const spawn_plan& plan,
                                                            const node_plan& node,
                                                            const opened_model& model,
                                                            const training_neighbours& with) {
  std::unique_ptr<node_training> made(new node_training());
  const auto folder = site_folder(plan, node);
  auto data = open_data(folder, node.data);
  if (!data) return data.failure();
  const bool from_file = !node.data.empty() && !node.data.starts_with(builtin_prefix);
  made->data_ = system.spawn<caf::detached>(
      site_data_behavior, site_data_deps{.data = *data,
                                         .source = from_file ? fs::path(node.data) : fs::path(),
                                         .node = node.name,
                                         .telemetry = with.telemetry,
                                         .counts = with.board->make("site_data", "")});
  const auto checkpoints = std::make_shared<store::checkpoint_store>(folder / "checkpoints");
  for (const auto& f : plan.federation) {
    auto options = training_options_of(plan, node, f);
    const auto sizes = sizes_of(plan, node, model, f.adapter, options);
    if (!sizes) {  // it serves all the same
      with.on_event(event_message(schema::EventLevel::ERROR, node.name, "training_refused",
                                  f.adapter + " is not trained here: " + sizes.failure().message));
      continue;
    }
    options.window_tokens = sizes->window_tokens;
    options.head_tokens = sizes->head_tokens;
    for (const auto& [name, replica] : with.replicas) {
      if (!plan.trainers.empty() && !plan.trainers.contains(name)) continue;  // it only serves
      shadow_deps deps{
          .replica = name,
          .site = node.site,
          .adapter = f.adapter,
          .base_digest = model.base_digest,
          .engine = replica,
          .aggregator = with.aggregator,
          .data = made->data_,
          .node = with.node,
          .router = with.router,
          .telemetry = with.telemetry,
          .make_trainer = [base = model.base, options](const engine::adapter_ptr& parent)
              -> result<std::shared_ptr<engine::trainer>> {
            auto trainer = engine::make_trainer(base, parent, options);
            if (!trainer) return trainer.failure();
            return std::shared_ptr<engine::trainer>(std::move(*trainer));
          },
          .encode = [encoder = *model.encoder, most = options.sample_tokens](
                        const store::site_row& row) { return encode_sample(encoder, row, most); },
          .guard = guard_samples(*model.encoder->tokens),
          .checkpoints = checkpoints,
          .batch_tokens = options.batch_tokens,
          .own_rank = options.rank != 0,
          .alone = f.alone,
          .counts = with.board->make("adapter_shadow", name + "/" + f.adapter)};
      made->shadows_.push_back(system.spawn<caf::detached>(shadow_behavior, std::move(deps)));
    }
  }
  return made;
}

site_data_actor node_training::data() const { return data_; }

void node_training::stop() {
  for (const auto& s : shadows_) end_actor(s);
  shadows_.clear();
  if (data_) end_actor(data_);
  data_ = nullptr;
}

}  // namespace collm::deploy
