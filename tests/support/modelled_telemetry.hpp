// What a telemetry actor needs beside modelled engines.
#pragma once

#include <string>
#include <utility>

#include "actors/telemetry.hpp"

namespace collm::testing_support {

/// Of a node, or of the head, which has no site and no kernels.
inline actors::telemetry_deps modelled_telemetry(std::string node, std::string site,
                                                 actors::meter_board_ptr board,
                                                 actors::meter_ptr counts) {
  actors::telemetry_deps out;
  out.node = std::move(node);
  out.site = std::move(site);
  out.model = "tiny";
  out.kernel_path = out.site.empty() ? "" : "modelled";
  out.board = std::move(board);
  out.requests_in_flight = [] { return 0u; };
  out.draining = [] { return false; };
  out.counts = std::move(counts);
  return out;
}

}  // namespace collm::testing_support
