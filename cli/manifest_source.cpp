#include "cli/manifest_source.hpp"

#include <fstream>
#include <iostream>
#include <iterator>

namespace collm::cli {
namespace fs = std::filesystem;

result<manifest_source> read_manifest(const std::string& file) {
  if (file.empty())
    return manifest_source{std::string(deploy::builtin_manifest()), "builtin:demo",
                           fs::current_path()};
  if (file == "-") {
    return manifest_source{std::string(std::istreambuf_iterator<char>(std::cin), {}), "stdin",
                           fs::current_path()};
  }
  std::ifstream in(file, std::ios::binary);
  if (!in || fs::is_directory(file))
    return error{errc::bad_request, "cannot read the manifest " + file};
  return manifest_source{std::string(std::istreambuf_iterator<char>(in), {}), file,
                         fs::absolute(file).parent_path()};
}

void add_manifest_flag(verb& to, std::string& file) {
  to.flag("-f,--file", file, "manifest; left out: the built-in two-site demo, -: standard input");
}

int report(console& io, const std::string& name, const std::vector<deploy::problem>& problems) {
  if (io.wants_json()) {
    json rows = json::array();
    for (const deploy::problem& p : problems) {
      rows.push_back({{"line", p.where.line},
                      {"column", p.where.column},
                      {"field", p.field},
                      {"message", p.message}});
    }
    io.print({{"valid", false}, {"manifest", name}, {"problems", rows}});
    return wrong_usage;
  }
  for (const deploy::problem& p : problems) io.remarks() << deploy::to_string(p, name) << "\n";
  io.remarks() << problems.size() << (problems.size() == 1 ? " problem" : " problems")
               << "; nothing was started" << std::endl;
  return wrong_usage;
}

}  // namespace collm::cli
