// What live requests say of a version: a process counts its ended answers, the head adds up what
// the processes count. Pure. Owners: each process's telemetry actor (counter), the aggregator
// (book).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "coordinator/gate.hpp"
#include "messages/ids.hpp"

namespace collm::coordinator {

/// Of one version, in one process.
struct version_traffic {
  version_id id = {};
  std::uint64_t answers = 0;     ///< ended since the process started, bad ones included
  std::uint64_t bad = 0;         ///< late against the SLO, or broken off by a fault of ours
  std::uint64_t not_finite = 0;  ///< of the bad ones: its logits held NaN or infinity
  double requests_per_s = 0;     ///< mean of the last 60 s
  std::uint64_t open = 0;        ///< answers that run now
  std::uint64_t late = 0;        ///< of the open ones: beyond their promise, bad whatever comes
};

/// Counts answers as they end, and those that run. Knows the eight versions of an adapter, and the
/// 512 of all, that were asked for last; of answers that run, 65,536.
class traffic_counter {
 public:
  enum class quality : std::uint8_t { good, bad, not_finite };
  /// An answer runs; its promise is broken if it still does at `late_at_ms`. Told again, that time
  /// moves. `key`: the caller's own.
  void began(std::uint64_t key, const version_id& id, double late_at_ms, double now_ms);
  /// It runs no more; what it was like is told beside.
  void left(std::uint64_t key) { open_.erase(key); }
  void ended(const version_id& id, quality how, double now_ms);
  std::vector<version_traffic> view(double now_ms) const;

 private:
  static constexpr std::size_t seconds = 60;
  struct row {
    version_traffic since_start;
    std::array<std::uint32_t, seconds> ended_in = {};  ///< by second, a ring
    std::int64_t newest = 0;                           ///< second that the ring ends with
    void turn_to(std::int64_t second);
  };
  using rows = std::map<version_id, row>;
  void drop_idle(rows::iterator first, rows::iterator last);
  row& row_of(const version_id& id, double now_ms);
  rows rows_;
  struct running {
    version_id id;
    double late_at_ms = 0;
  };
  std::map<std::uint64_t, running> open_;
};

/// Adds up the processes: what ended, and what runs beyond its promise. One that starts again
/// counts from nought: what it counted before stays.
class traffic_book {
 public:
  /// Of answers of a site. `life` tells a process's restarts apart. The first word of a life is
  /// where its counts begin.
  void heard(const std::string& process, const std::string& site, std::uint64_t life,
             const std::vector<version_traffic>& counts, double now_ms);
  /// Counts of these two begin here; no others are kept, whatever processes count.
  void mark(const version_id& canary, const version_id& serving);
  /// Of the two that were marked; `not_finite`: before the mark, too. A process that ended
  /// meanwhile took the canary's answers that ran with it, and may have ended by it: bad ones, at
  /// least one.
  canary_traffic traffic(const version_id& canary, const version_id& serving) const;
  /// Of all versions of an adapter, over the processes that were heard of lately.
  double requests_per_s(const std::string& adapter, double now_ms) const;

 private:
  struct process {
    std::string site = {};
    std::uint64_t life = 0;
    double heard_ms = 0;
    std::map<version_id, version_traffic> last;
  };
  static bool silent(const process& p, double now_ms);
  struct sum {
    std::uint64_t answers = 0, bad = 0;
    std::uint64_t broken_off = 0;   ///< that ran in a process as it ended
    std::uint32_t lives_ended = 0;  ///< of processes in which any ran
    bool not_finite = false;
  };
  /// What a process counted since the mark.
  struct tally {
    std::string site;
    std::map<version_id, sum> of;  ///< the two that were marked
    std::uint32_t lives_ended = 0;
  };
  tally& tally_of(const std::string& process);
  sum sum_of(const std::string& process, const tally& since, const version_id& id) const;
  static constexpr std::size_t processes_max = 1024;
  std::map<std::string, process> processes_;
  std::vector<version_id> marked_;
  std::map<std::string, tally> since_mark_;  ///< by process of the plan, also those that ended
};

}  // namespace collm::coordinator
