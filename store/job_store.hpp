// Fine-tuning jobs, durable: what was asked for and how far it has come. Ids and counts only; no
// text of a site is here. Owner: the coordinator's thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace collm::store {

/// Values of schema::JobState, in its order.
enum class job_state : std::uint8_t { queued, running, succeeded, failed, cancelled };
inline bool is_over(job_state s) { return s >= job_state::succeeded; }

struct job_row {
  std::string id, adapter;
  job_state state = job_state::queued;
  std::uint32_t rounds = 0;  ///< asked for; 0: until nothing is gained
  std::uint32_t done = 0;    ///< rounds that ended with a verdict
  std::uint32_t promoted = 0, version = 0;
  std::uint32_t last_round = 0;  ///< counted already, or before the job
  double tokens = 0;
  std::string training_file;
  std::int64_t created_unix = 0, finished_unix = 0;  ///< s
  std::string message;
  std::string owner;  ///< tenant that asked for it; empty: whoever operates the cluster
  std::string site;   ///< whose gateway took it; empty: the head's
  friend bool operator==(const job_row&, const job_row&) = default;
};

inline constexpr std::size_t jobs_max = 256;  ///< kept; the oldest that are over go first

class job_store {
 public:
  virtual ~job_store() = default;
  /// Writes the whole row. overloaded: a new job beside jobs_max that are not over.
  virtual result<void> put(const job_row& row) = 0;
  /// Oldest first.
  virtual result<std::vector<job_row>> list() = 0;
};

/// Opens or creates `file`; refusals as those of the version store.
result<std::unique_ptr<job_store>> open_job_store(const std::filesystem::path& file);

}  // namespace collm::store
