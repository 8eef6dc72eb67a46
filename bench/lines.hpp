// Text files line by line, with the line's number in every error. Owned by whoever reads the file;
// one thread.
#pragma once

#include <cstddef>
#include <istream>
#include <string>

#include "messages/result.hpp"

namespace collm::bench {

class line_reader {
 public:
  line_reader(std::istream& in, std::string name, std::size_t bytes_max)
      : in_(in), name_(std::move(name)), bytes_max_(bytes_max) {}

  /// False at the end of the file. A line longer than the limit, or a file that cannot be read, is
  /// an error.
  result<bool> next(std::string& line) {
    line.clear();
    ++number_;
    for (int c; (c = in_.get()) != std::char_traits<char>::eof();) {
      if (c == '\n') return true;
      if (line.size() == bytes_max_)
        return wrong("longer than " + std::to_string(bytes_max_) + " bytes", errc::too_large);
      if (c != '\r' || in_.peek() != '\n') line.push_back(static_cast<char>(c));
    }
    if (in_.bad()) return wrong("cannot be read", errc::io);
    return !line.empty();
  }

  /// "name:12: what is wrong"
  error wrong(const std::string& what, errc code = errc::bad_request) const {
    return {code, name_ + ":" + std::to_string(number_) + ": " + what};
  }

  std::size_t number() const { return number_; }

 private:
  std::istream& in_;
  std::string name_;
  std::size_t bytes_max_;
  std::size_t number_ = 0;
};

}  // namespace collm::bench
