#include "deploy/logging.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace collm::deploy {

std::vector<std::string> log_levels() { return {"trace", "debug", "info", "warning", "error"}; }

void start_logging(const std::string& level) {
  spdlog::set_default_logger(spdlog::stderr_color_mt("collm"));
  spdlog::set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
  spdlog::set_level(spdlog::level::from_str(level));
}

}  // namespace collm::deploy
