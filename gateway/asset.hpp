// One file of the page, embedded in the binary.
#pragma once

#include <string_view>

namespace collm::gateway {

struct asset {
  std::string_view path;          ///< below /dashboard/: "index.html", "assets/app.js"
  std::string_view content_type;  ///< "text/html; charset=utf-8"
  std::string_view bytes;
};

}  // namespace collm::gateway
