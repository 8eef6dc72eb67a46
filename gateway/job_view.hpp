// A job as OpenAI's fine_tuning.job, and the request that makes one. Pure.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>

#include "gateway/api_error.hpp"
#include "messages/federation.capnp.h"

namespace collm::gateway {

/// What a client asks for, checked.
struct job_wish {
  std::string adapter, training_file, suffix;
  std::uint32_t rounds = 0;  ///< 0: until nothing is gained any more
};

/// Body of POST /v1/fine_tuning/jobs. What a stock client can set and a federation has no place for
/// is refused by name, never ignored.
std::variant<job_wish, api_error> parse_job(const nlohmann::json& body);

nlohmann::ordered_json job_json(schema::Job::Reader job);
/// What is known of its course: created, rounds so far, its end; oldest first.
nlohmann::ordered_json job_events(schema::Job::Reader job);

inline constexpr std::uint32_t job_rounds_max = 100'000;

}  // namespace collm::gateway
