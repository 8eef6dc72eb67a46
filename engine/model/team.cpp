#include "engine/model/team.hpp"

#include <omp.h>

namespace collm::engine {

void run_team(std::uint32_t threads, meeting_point& point,
              const std::function<void(const member&)>& work) {
#pragma omp parallel num_threads(static_cast <int>(threads))
  {
    try {
      work({static_cast<std::uint32_t>(omp_get_thread_num()),
            static_cast<std::uint32_t>(omp_get_num_threads()), &point});
    } catch (...) {
      point.leave(std::current_exception());
    }
  }
  point.rethrow();
}

}  // namespace collm::engine
