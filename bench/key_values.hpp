// What the training benches share at their edges: `key=value` words of the command line, and the
// end of the process with the reason when a call fails. Not for product code.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>

#include "messages/result.hpp"

namespace collm::bench {

[[noreturn]] inline void stop(const std::string& why) {
  std::fprintf(stderr, "bench: %s\n", why.c_str());
  std::exit(1);
}
template <class T>
T must(result<T> r) {
  if (!r) stop(r.failure().message);
  return *std::move(r);
}
inline void must(const result<void>& r) {
  if (!r) stop(r.failure().message);
}

/// Every key has a default; an unknown key, or a number that is none, ends the process by name.
class key_values {
 public:
  key_values(std::map<std::string, std::string> defaults, int count, char** words)
      : all_(std::move(defaults)) {
    for (int i = 0; i < count; ++i) {
      const std::string word = words[i];
      const auto at = word.find('=');
      if (at == std::string::npos || !all_.contains(word.substr(0, at)))
        stop("'" + word + "' is no setting: the head of the bench's source lists them");
      all_[word.substr(0, at)] = word.substr(at + 1);
    }
  }

  const std::string& text(const std::string& key) const { return all_.at(key); }
  std::uint32_t number(const std::string& key) const {
    return static_cast<std::uint32_t>(parsed(key, [](const char* from, char** end) {
      return static_cast<double>(std::strtoul(from, end, 10));
    }));
  }
  float real(const std::string& key) const {
    return static_cast<float>(
        parsed(key, [](const char* from, char** end) { return std::strtod(from, end); }));
  }
  const std::map<std::string, std::string>& all() const { return all_; }

 private:
  template <class F>
  double parsed(const std::string& key, F parse) const {
    const auto& word = all_.at(key);
    char* end = nullptr;
    const auto value = parse(word.c_str(), &end);
    if (word.empty() || *end != '\0') stop(key + "=" + word + ": must be a number");
    return value;
  }

  std::map<std::string, std::string> all_;
};

}  // namespace collm::bench
