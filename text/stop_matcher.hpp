// Watches a text, byte by byte, for one stop string (Knuth, Morris, Pratt): constant time a byte,
// whatever the string. One object a sequence and stop string; its owner's thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace collm::text {

class stop_matcher {
 public:
  /// `stop` is not empty.
  explicit stop_matcher(std::string stop);

  /// Takes the next byte; true if it completes the stop string.
  bool push(char byte);

  /// How many of the last bytes are a beginning of the stop string: what must not be shown yet.
  std::size_t matched() const { return matched_; }

 private:
  std::string stop_;
  std::vector<std::size_t>
      fallback_;  ///< by matched length: the next shorter beginning that still fits
  std::size_t matched_ = 0;
};

}  // namespace collm::text
