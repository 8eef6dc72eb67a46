#include <filesystem>
#include <fstream>
#include <ostream>

#include "cli/play.hpp"

namespace collm::cli {

result<void> show_report(console& io, const played& p, const std::string& file) {
  if (io.wants_json())
    io.print(p.report);
  else
    io.out() << p.text << std::flush;
  if (file.empty()) return {};
  const auto folder = std::filesystem::path(file).parent_path();
  std::error_code failed;
  if (!folder.empty()) std::filesystem::create_directories(folder, failed);
  std::ofstream out(file, std::ios::trunc);
  out << p.report.dump(2, ' ', false, json::error_handler_t::replace) << std::endl;
  if (!out) return error{errc::io, "cannot write the report to " + file};
  return {};
}

}  // namespace collm::cli
