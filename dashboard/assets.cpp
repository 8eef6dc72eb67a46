// The files of dist/ as bytes of the binary, put there by the assembler: compiling them as array
// literals would take seconds and hundreds of megabytes.
#include "dashboard/assets.hpp"

#include <array>

#define COLLM_EMBED(symbol, file)                                                          \
  asm(".pushsection .rodata\n" #symbol "_begin:\n.incbin \"" COLLM_DASHBOARD_DIST "/" file \
      "\"\n" #symbol "_end:\n.popsection\n");                                              \
  extern "C" const char symbol##_begin[], symbol##_end[]

COLLM_EMBED(collm_dashboard_index, "index.html");
COLLM_EMBED(collm_dashboard_script, "app.js");
COLLM_EMBED(collm_dashboard_style, "app.css");

namespace collm::dashboard {
namespace {

std::string_view between(const char* begin, const char* end) {
  return {begin, static_cast<std::size_t>(end - begin)};
}

}  // namespace

std::span<const gateway::asset> assets() {
  static const std::array<gateway::asset, 3> all{{
      {"index.html", "text/html; charset=utf-8",
       between(collm_dashboard_index_begin, collm_dashboard_index_end)},
      {"app.js", "text/javascript; charset=utf-8",
       between(collm_dashboard_script_begin, collm_dashboard_script_end)},
      {"app.css", "text/css; charset=utf-8",
       between(collm_dashboard_style_begin, collm_dashboard_style_end)},
  }};
  return all;
}

}  // namespace collm::dashboard
