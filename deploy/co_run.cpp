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

constexpr std::uint32_t unloaded_requests = 15, alone_seconds = 10;
constexpr std::uint32_t capacity_trials = 5, capacity_seconds = 12;
constexpr double capacity_attainment = 0.9;
constexpr auto drained_within = milliseconds(20000);
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

  /// One after the other: what each was like alone.
  std::vector<co_run_rig::pending> one_by_one(std::uint32_t count) {
    std::vector<co_run_rig::pending> out;
    for (std::uint32_t i = 0; i < count; ++i) {
      out.push_back(on_.send({o_.prompt_tokens, o_.answer_tokens, ++salt_, clock::now()}));
      (void)wait_until(drained_within, [&] { return ended(out); });  // judged by its answer
    }
    return out;
  }

  /// Poisson arrivals, whatever becomes of them.
  std::vector<co_run_rig::pending> open_loop(double per_s, std::uint32_t seconds,
                                             std::uint64_t seed, double share) {
    numbers draw(seed);
    std::vector<co_run_rig::pending> out;
    const auto end = clock::now() + std::chrono::seconds(seconds);
    auto due = clock::now(), granted = due;
    on_.grant(share);
    for (;;) {
      due += std::chrono::microseconds(std::llround(draw.exponential(1e6 / per_s)));
      while (granted + grant_every < std::min(due, end)) {
        std::this_thread::sleep_until(granted += grant_every);
        on_.grant(share);
      }
      if (due >= end) break;
      std::this_thread::sleep_until(due);
      const auto prompt = draw.around(o_.prompt_tokens), answer = draw.around(o_.answer_tokens);
      out.push_back(on_.send({prompt, answer, ++salt_, due}));
    }
    std::this_thread::sleep_until(end);
    return out;
  }

  bool drain(const std::vector<co_run_rig::pending>& sent) const {
    return wait_until(drained_within, [&] { return ended(sent); });
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

  /// The largest rate that keeps its promises for nine requests of ten, by halving; between a
  /// tenth and one and a half of what requests in a row would give.
  result<double> capacity(double in_a_row_per_s) {
    double low = 0.1 * in_a_row_per_s, high = 1.5 * in_a_row_per_s;
    for (std::uint32_t i = 0; i < capacity_trials; ++i) {
      const double rate = (low + high) / 2;
      const auto sent = open_loop(rate, capacity_seconds, 100 + i, 0);
      if (!drain(sent)) return error{errc::timeout, "requests did not end: " + on_.fault()};
      (attainment(sent) >= capacity_attainment ? low : high) = rate;
    }
    return low;
  }

 private:
  static bool ended(const std::vector<co_run_rig::pending>& sent) {
    return std::all_of(sent.begin(), sent.end(),
                       [](auto& a) { return a->ended.load(std::memory_order_acquire); });
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

/// Median gap of tokens, and how many requests a second could follow each other, alone.
result<std::pair<double, double>> unloaded(const co_run_options& o, const engine::base_ptr& base) {
  auto rig = co_run_rig::make(base, {.promises = {}, .threads = o.threads});
  if (!rig) return rig.failure();
  measuring m(o, **rig, 1e9);
  const auto sent = m.one_by_one(unloaded_requests + 3);
  std::vector<double> tpot, whole;
  for (std::size_t i = 3; i < sent.size(); ++i) {  // the first ones warm up
    if (!m.good(*sent[i]))
      return error{errc::internal, "a request alone was not answered: " + (*rig)->fault()};
    tpot.push_back(sent[i]->tpot_ms());
    whole.push_back(seconds_of(sent[i]->last - sent[i]->due));
  }
  return std::pair(quantile(tpot, 0.5), 1 / quantile(whole, 0.5));
}

/// Tokens a second with nothing to serve, after the first batch and once the share is whole: the
/// requests before may have seen a job begin and taken some of it.
double train_alone(co_run_rig& on, double share) {
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
  (void)wait_until(std::chrono::seconds(alone_seconds), [&] {
    if (on.trained_tokens() != tokens) last = clock::now();
    tokens = on.trained_tokens();
    return !on.fault().empty();
  });
  return last > from ? static_cast<double>(tokens - before) / seconds_of(last - from) : 0;
}

}  // namespace

result<co_run> run_co_run(const co_run_options& o) {
  auto base = engine::open_base(o.model, engine::precision::int8, o.cache_dir);
  if (!base) return base.failure();
  const auto alone = unloaded(o, *base);
  if (!alone) return alone.failure();
  co_run out;
  out.unloaded_tpot_ms = alone->first;
  out.tpot_slo_ms = o.tpot_factor * alone->first;
  auto rig = co_run_rig::make(*base, {.promises = {o.ttft_ms, out.tpot_slo_ms},
                                      .threads = o.threads,
                                      .sample_tokens = o.sample_tokens,
                                      .batch_tokens = o.batch_tokens});
  if (!rig) return rig.failure();
  auto& on = **rig;
  measuring m(o, on, out.tpot_slo_ms);
  (void)m.one_by_one(10);  // the engine learns its steps
  out.alone_tokens_per_s = train_alone(on, o.share);
  const auto capacity = m.capacity(alone->second);
  if (!capacity) return capacity.failure();
  out.capacity_per_s = *capacity;
  out.rate_per_s = *capacity / 2;
  std::vector<part> off, beside;
  for (std::uint32_t i = 0; i < 2 * o.pairs; ++i) {
    const bool trains = i % 2 != (i / 2) % 2;  // off, on, on, off, ...: drift falls on both
    part p{.from = clock::now(), .to = {}, .tokens = on.trained_tokens(), .sent = {}};
    p.sent = m.open_loop(out.rate_per_s, o.seconds, o.seed + i / 2, trains ? o.share : 0);
    p.to = clock::now();
    p.tokens = on.trained_tokens() - p.tokens;
    if (!m.drain(p.sent)) return error{errc::timeout, "requests did not end: " + on.fault()};
    (trains ? beside : off).push_back(std::move(p));
  }
  if (const auto why = on.fault(); !why.empty()) return error{errc::internal, why};
  judge(m, off, out.off);
  judge(m, beside, out.on);
  const auto slots = on.slots();
  const auto without = shares_of(slots, off), with = shares_of(slots, beside);
  out.idle_share = 1 - without.steps;
  out.unit_share = with.units;
  out.longest_unit_ms = with.longest_ms;
  double tokens = 0, seconds = 0;
  for (const auto& p : beside) {
    tokens += static_cast<double>(p.tokens);
    seconds += seconds_of(p.to - p.from);
  }
  out.beside_tokens_per_s = tokens / seconds;
  const auto& last = slots.back().training;
  out.no_time = last.no_time;
  out.no_credit = last.no_credit;
  out.yields = last.yields;
  return out;
}

}  // namespace collm::deploy
