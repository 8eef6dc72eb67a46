// Who did what to the cluster, through the admin paths. The gateway makes the lines, deploy/ keeps
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace collm::gateway {

/// Called on the gateway's Asio thread; returns soon.
class audit_trail {
 public:
  virtual ~audit_trail() = default;
  /// One JSON object, without the line's end.
  virtual void add(const std::string& line) = 0;
  /// The last lines of this and the other gateways on this machine, oldest first.
  virtual std::vector<std::string> last(std::size_t most) const = 0;
};

/// One admin act: it changes something, or hands out weights.
struct admin_act {
  static constexpr std::size_t asked_bytes_max = 1024;
  std::string gateway;     ///< "head", or the node's name
  std::string who;         ///< "admin key", "local caller"
  std::string from;        ///< address
  std::string what;        ///< "POST /admin/v1/drain"
  std::string asked;       ///< the body, or the query where there is none; as much as is kept of it
  std::string request_id;  ///< as in the response
  unsigned status = 0;     ///< of the response; 0: the caller went away before it
  static constexpr unsigned unknown = 1;  ///< as a status: it broke, and may be done or not
};

/// `{"time":"2026-01-31T12:00:00.123Z","gateway":…,"who":…}`; `unix_ms`: the wall clock.
std::string audit_line(const admin_act& act, std::int64_t unix_ms);

}  // namespace collm::gateway
