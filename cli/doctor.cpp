#include "deploy/doctor.hpp"

#include <algorithm>
#include <ostream>

#include "cli/manifest_source.hpp"
#include "cli/verbs.hpp"

namespace collm::cli {
namespace {

using deploy::finding;
using deploy::health;

struct doctor_options {
  std::string file;
  bool quick = false;
};

finding speed_of(const deploy::spawn_plan& plan, const deploy::machine& on,
                 std::optional<deploy::speed>& measured) {
  const auto s = deploy::measure_speed(plan.model, on.cache_dir / "bases");
  if (!s)
    return {"speed", health::problem, s.failure().message,
            "remove the packed base in the cache, or fetch the model again with ./dev build"};
  measured = *s;
  return deploy::judged(*s);
}

void print(console& io, const std::vector<finding>& all) {
  for (const finding& f : all) {
    const style how = f.how == health::good      ? style::good
                      : f.how == health::warning ? style::warning
                                                 : style::bad;
    const std::string mark = f.how == health::good      ? "ok       "
                             : f.how == health::warning ? "warning  "
                                                        : "problem  ";
    io.out() << io.painted(mark, how) << f.about << ": " << f.text;
    if (!f.mend.empty()) io.out() << " -> " << f.mend;
    io.out() << "\n";
  }
}

json to_json(const std::vector<finding>& all, const std::optional<deploy::speed>& s) {
  json rows = json::array();
  for (const finding& f : all)
    rows.push_back({{"about", f.about},
                    {"health", deploy::to_string(f.how)},
                    {"text", f.text},
                    {"mend", f.mend}});
  json document = {{"findings", rows}};
  if (s) {
    document["speed"] = {{"kernel_path", s->kernel_path},
                         {"prefill_tokens_per_s", s->prefill_tokens_per_s},
                         {"decode_tokens_per_s", s->decode_tokens_per_s},
                         {"open_seconds", s->open_seconds}};
  }
  return document;
}

int doctor(console& io, const doctor_options& o) {
  const auto source = read_manifest(o.file);
  if (!source) return io.fail(source.failure());
  const deploy::machine on = deploy::machine::here();
  std::vector<finding> all = deploy::examine(source->yaml, source->name, source->base_dir, on);
  std::optional<deploy::speed> measured;
  const deploy::plan_check checked = deploy::make_plan(source->yaml, source->base_dir, on);
  if (checked.plan) {
    const auto state = deploy::examine_state(*checked.plan);
    all.insert(all.end(), state.begin(), state.end());
  }
  if (checked.plan && !o.quick) {
    if (!io.wants_json())
      io.remarks() << io.painted("measuring one engine …", style::dim) << std::endl;
    all.push_back(speed_of(*checked.plan, on, measured));
  }
  if (io.wants_json())
    io.print(to_json(all, measured));
  else
    print(io, all);
  const bool ill = std::any_of(all.begin(), all.end(),
                               [](const finding& f) { return f.how == health::problem; });
  return ill ? failed : success;
}

}  // namespace

void add_doctor(program& p) {
  verb v(p.app, "doctor", "Look at cores, memory, disk, ports and model; say what to mend");
  const auto o = std::make_shared<doctor_options>();
  add_manifest_flag(v, o->file);
  v.toggle("--quick", o->quick, "leave out the measurement");
  v.runs(p.io, p.exit, [&io = p.io, o] { return doctor(io, *o); });
}

}  // namespace collm::cli
