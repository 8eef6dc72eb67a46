#include "cli/play.hpp"

namespace collm::cli {

result<played> play(const bench::workload&, const json&, const std::string&) {
  return error{errc::unavailable, "this build has no workload player"};
}

}  // namespace collm::cli
