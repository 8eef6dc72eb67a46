#include "deploy/co_run.hpp"

#include <algorithm>
#include <cmath>
#include <thread>

#include "coordinator/admission.hpp"
#include "deploy/co_run_rig.hpp"

namespace collm::deploy {
namespace {

using clock = co_run_rig::clock;
using std::chrono::milliseconds;

constexpr std::uint32_t in_a_row_requests = 12;
// Of rates: what requests in a row would give. The lowest is where requests are alone.
constexpr double rate_floor = 0.1, rate_ceiling = 1.5;
// Of a bench of so many minutes; of another in proportion.
constexpr double whole_minutes = 12;
constexpr double unloaded_requests = 40, alone_seconds = 20;
constexpr double trial_requests = 30, trial_seconds = 30, trial_seconds_max = 60;
constexpr double part_seconds_min = 4;
constexpr auto drained_within = milliseconds(60000);
constexpr auto share_whole_within = std::chrono::seconds(25);  // within the life of a plan
constexpr auto grant_every = std::chrono::seconds(5);          // a plan's life is longer

double seconds_of(clock::duration d) { return std::chrono::duration<double>(d).count(); }

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto at = static_cast<std::size_t>(q * static_cast<double>(values.size() - 1) + 0.5);
  return values[at];
}

/// Seeded numbers that no standard library changes.
class numbers {
 public:
  explicit numbers(std::uint64_t seed) : state_(seed * 1000003) {}
  double uniform() { return coordinator::hash01(state_++); }
  double exponential(double mean) { return -mean * std::log(1 - uniform()); }
  std::uint32_t around(std::uint32_t mean) {
    return std::max(2u, static_cast<std::uint32_t>(mean * (0.5 + uniform())));
  }

 private:
  std::uint64_t state_;
};

class measuring {
 public:
  measuring(const co_run_options& o, co_run_rig& on, double tpot_ms)
      : o_(o), on_(on), tpot_ms_(tpot_ms) {}

  /// One after the other.
  std::vector<co_run_rig::pending> in_a_row(std::uint32_t count) {
    std::vector<co_run_rig::pending> out;
    for (std::uint32_t i = 0; i < count; ++i) {
      out.push_back(on_.send({o_.prompt_tokens, o_.answer_tokens, ++salt_, clock::now()}));
      (void)drain(out);  // judged by its answer
    }
    return out;
  }

  /// Arrivals and lengths as in open_loop at a low rate, but none meets another: what each was like
  /// alone, on a core that slept before it came.
  std::vector<co_run_rig::pending> far_apart(std::uint32_t count, double per_s) {
    numbers draw(o_.seed);
    std::vector<co_run_rig::pending> out;
    for (std::uint32_t i = 0; i < count; ++i) {
      std::this_thread::sleep_for(gap(draw, per_s));
      send(draw, clock::now(), out);
      (void)drain(out);
    }
    return out;
  }

  /// Poisson arrivals, whatever becomes of them.
  std::vector<co_run_rig::pending> open_loop(double per_s, double seconds, std::uint64_t seed,
                                             double share) {
    numbers draw(seed);
    std::vector<co_run_rig::pending> out;
    auto due = clock::now(), granted = due;
    const auto end = due + milliseconds(std::llround(1000 * seconds));
    on_.grant(share);
    for (;;) {
      due += gap(draw, per_s);
      while (granted + grant_every < std::min(due, end)) {
        std::this_thread::sleep_until(granted += grant_every);
        on_.grant(share);
      }
      if (due >= end) break;
      std::this_thread::sleep_until(due);
      send(draw, due, out);
    }
    std::this_thread::sleep_until(end);
    return out;
  }

  bool drain(const std::vector<co_run_rig::pending>& sent) const {
    return wait_until(drained_within, [&] {
      return std::all_of(sent.begin(), sent.end(),
                         [](auto& a) { return a->ended.load(std::memory_order_acquire); });
    });
  }

  bool good(const co_run_rig::answer& a) const {
    return a.ended.load(std::memory_order_acquire) && !a.refused && a.tokens > 0 &&
           a.ttft_ms() <= o_.ttft_ms && a.tpot_ms() <= tpot_ms_;
  }

  double attainment(const std::vector<co_run_rig::pending>& sent) const {
    if (sent.empty()) return 1;
    const auto n = std::count_if(sent.begin(), sent.end(), [&](auto& a) { return good(*a); });
    return static_cast<double>(n) / static_cast<double>(sent.size());
  }

  /// With training off. At least 30 s, and 30 requests where a minute is enough for them.
  result<capacity_trial> trial(double per_s, std::uint64_t seed) {
    const double scale = o_.minutes / whole_minutes;
    const double seconds = std::clamp(scale * trial_requests / per_s, scale * trial_seconds,
                                      scale * trial_seconds_max);
    const auto sent = open_loop(per_s, seconds, seed, 0);
    if (!drain(sent)) return error{errc::timeout, "requests did not end: " + on_.fault()};
    return capacity_trial{per_s, static_cast<std::uint32_t>(sent.size()), attainment(sent)};
  }

 private:
  static std::chrono::microseconds gap(numbers& draw, double per_s) {
    return std::chrono::microseconds(std::llround(draw.exponential(1e6 / per_s)));
  }
  void send(numbers& draw, clock::time_point due, std::vector<co_run_rig::pending>& into) {
    const auto prompt = draw.around(o_.prompt_tokens), answer = draw.around(o_.answer_tokens);
    into.push_back(on_.send({prompt, answer, ++salt_, due}));
  }
  const co_run_options& o_;
  co_run_rig& on_;
  const double tpot_ms_;
  std::uint64_t salt_ = 0;
};

/// A part's window, and what was trained in it.
struct part {
  clock::time_point from, to;
  std::uint64_t tokens = 0;
  std::vector<co_run_rig::pending> sent;
};

void judge(const measuring& m, const std::vector<part>& parts, co_run_side& to) {
  std::vector<double> ttft, tpot;
  for (const auto& p : parts)
    for (const auto& a : p.sent) {
      ++to.requests;
      to.good += m.good(*a) ? 1 : 0;
      to.refused += a->refused ? 1 : 0;
      if (a->refused || a->tokens < 2) continue;
      ttft.push_back(a->ttft_ms());
      tpot.push_back(a->tpot_ms());
    }
  to.ttft_ms_p50 = quantile(ttft, 0.5);
  to.tpot_ms_p50 = quantile(tpot, 0.5);
  to.tpot_ms_p95 = quantile(tpot, 0.95);
}

struct shares {
  double steps = 0, units = 0, longest_ms = 0;
};

/// Of the whole slots within parts.
shares shares_of(const std::vector<co_run_rig::slot>& slots, const std::vector<part>& parts) {
  shares out;
  double wall = 0;
  for (std::size_t i = 1; i < slots.size(); ++i) {
    const bool within = std::any_of(parts.begin(), parts.end(), [&](const part& p) {
      return slots[i - 1].at >= p.from && slots[i].at <= p.to;
    });
    if (!within) continue;
    wall += seconds_of(slots[i].at - slots[i - 1].at) * 1000;
    out.steps += slots[i].step_ms;
    out.units += slots[i].unit_ms;
    out.longest_ms = std::max(out.longest_ms, slots[i].training.longest_bound_ms);
  }
  if (wall > 0) out.steps /= wall, out.units /= wall;
  return out;
}

/// What requests are like where none meets another.
struct lone {
  double in_a_row_per_s = 0;  ///< one follows the other at once
  double tpot_ms = 0;         ///< median, at the lowest rate of the search
};

result<std::vector<co_run_rig::pending>> answered(const measuring& m, const co_run_rig& by,
                                                  std::vector<co_run_rig::pending> sent) {
  if (!std::all_of(sent.begin(), sent.end(), [&](auto& a) { return m.good(*a); }))
    return error{errc::internal, "a request alone was not answered: " + by.fault()};
  return sent;
}

result<lone> unloaded(const co_run_options& o, const engine::base_ptr& base) {
  auto rig = co_run_rig::make(base, {.promises = {}, .threads = o.threads});
  if (!rig) return rig.failure();
  measuring m(o, **rig, 1e9);
  const auto row = answered(m, **rig, m.in_a_row(in_a_row_requests));
  if (!row) return row.failure();
  std::vector<double> tpot, whole;
  for (std::size_t i = 3; i < row->size(); ++i)  // the first ones warm up
    whole.push_back(seconds_of((*row)[i]->last - (*row)[i]->due));
  lone out{.in_a_row_per_s = 1 / quantile(whole, 0.5), .tpot_ms = 0};
  const auto count = std::max(5l, std::lround(unloaded_requests * o.minutes / whole_minutes));
  const auto rare = answered(
      m, **rig, m.far_apart(static_cast<std::uint32_t>(count), rate_floor * out.in_a_row_per_s));
  if (!rare) return rare.failure();
  for (const auto& a : *rare) tpot.push_back(a->tpot_ms());
  out.tpot_ms = quantile(tpot, 0.5);
  return out;
}

/// Tokens a second with nothing to serve, after the first batch and once the share is whole: the
/// requests before may have seen a job begin and taken some of it.
double train_alone(co_run_rig& on, double share, double at_most_s) {
  on.grant(share);
  (void)wait_until(share_whole_within, [&] {
    const auto slots = on.slots();
    return !slots.empty() && slots.back().training.share >= 0.95 * share;
  });
  on.grant(share);
  const auto first = on.trained_tokens();
  (void)wait_until(drained_within, [&] { return on.trained_tokens() > first; });
  const auto from = clock::now();
  const auto before = on.trained_tokens();
  auto last = from;
  auto tokens = before;
  (void)wait_until(milliseconds(std::llround(1000 * at_most_s)), [&] {
    if (on.trained_tokens() != tokens) last = clock::now();
    tokens = on.trained_tokens();
    return !on.fault().empty();
  });
  return last > from ? static_cast<double>(tokens - before) / seconds_of(last - from) : 0;
}

/// Training off, on, on, off, ...: drift falls on both.
result<void> run_parts(const co_run_options& o, const co_run& plan, measuring& m, co_run_rig& on,
                       std::vector<part>& off, std::vector<part>& beside) {
  for (std::uint32_t i = 0; i < 2 * o.pairs; ++i) {
    const bool trains = i % 2 != (i / 2) % 2;
    part p{.from = clock::now(), .to = {}, .tokens = on.trained_tokens(), .sent = {}};
    p.sent = m.open_loop(plan.rate_per_s, plan.part_seconds, o.seed + i / 2, trains ? o.share : 0);
    p.to = clock::now();
    p.tokens = on.trained_tokens() - p.tokens;
    if (!m.drain(p.sent)) return error{errc::timeout, "requests did not end: " + on.fault()};
    (trains ? beside : off).push_back(std::move(p));
  }
  if (const auto why = on.fault(); !why.empty()) return error{errc::internal, why};
  return {};
}

void add_training(const std::vector<co_run_rig::slot>& slots, const std::vector<part>& off,
                  const std::vector<part>& beside, co_run& to) {
  const auto without = shares_of(slots, off), with = shares_of(slots, beside);
  to.idle_share = 1 - without.steps;
  to.unit_share = with.units;
  to.longest_unit_ms = with.longest_ms;
  double tokens = 0, seconds = 0;
  for (const auto& p : beside) {
    tokens += static_cast<double>(p.tokens);
    seconds += seconds_of(p.to - p.from);
  }
  to.beside_tokens_per_s = tokens / seconds;
  const auto& last = slots.back().training;
  to.no_time = last.no_time;
  to.no_credit = last.no_credit;
  to.yields = last.yields;
  to.units_run = last.units_total;
  to.units_long = last.long_units;
}

}  // namespace

result<co_run> run_co_run(const co_run_options& o) {
  const auto until = clock::now() + milliseconds(std::llround(60000 * o.minutes));
  auto base = engine::open_base(o.model, engine::precision::int8, o.cache_dir);
  if (!base) return base.failure();
  const auto alone = unloaded(o, *base);
  if (!alone) return alone.failure();
  co_run out;
  out.unloaded_tpot_ms = alone->tpot_ms;
  out.tpot_slo_ms = o.tpot_factor * alone->tpot_ms;
  auto rig = co_run_rig::make(*base, {.promises = {o.ttft_ms, out.tpot_slo_ms},
                                      .threads = o.threads,
                                      .sample_tokens = o.sample_tokens,
                                      .batch_tokens = o.batch_tokens});
  if (!rig) return rig.failure();
  auto& on = **rig;
  out.units = on.units();
  measuring m(o, on, out.tpot_slo_ms);
  (void)m.in_a_row(10);  // the engine learns its steps
  out.alone_tokens_per_s = train_alone(on, o.share, alone_seconds * o.minutes / whole_minutes);
  auto found = find_capacity({.floor_per_s = rate_floor * alone->in_a_row_per_s,
                              .ceiling_per_s = rate_ceiling * alone->in_a_row_per_s},
                             [&, seed = 100](double per_s) mutable {  // other arrivals than parts
                               return m.trial(per_s, seed++);
                             });
  if (!found) return found.failure();
  out.capacity = *std::move(found);
  out.rate_per_s = out.capacity.per_s / 2;
  out.part_seconds = std::max(part_seconds_min, seconds_of(until - clock::now()) / (2 * o.pairs));
  std::vector<part> off, beside;
  if (const auto ran = run_parts(o, out, m, on, off, beside); !ran) return ran.failure();
  judge(m, off, out.off);
  judge(m, beside, out.on);
  add_training(on.slots(), off, beside, out);
  return out;
}

}  // namespace collm::deploy
