// A job as OpenAI's fine_tuning.job, and the request that makes one. Pure.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>

#include "gateway/api_error.hpp"
#include "gateway/federation_port.hpp"
#include "messages/federation.capnp.h"

namespace collm::gateway {

/// Body of POST /v1/fine_tuning/jobs. What a stock client can set and a federation has no place for
/// is refused by name, never ignored.
std::variant<job_order, api_error> parse_job(const nlohmann::json& body);

nlohmann::ordered_json job_json(schema::Job::Reader job);
/// What is known of its course: created, rounds so far, its end; oldest first.
nlohmann::ordered_json job_events(schema::Job::Reader job);

inline constexpr std::uint32_t job_rounds_max = 100'000;

}  // namespace collm::gateway
