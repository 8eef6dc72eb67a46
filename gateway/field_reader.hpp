// Typed fields out of one JSON object. Keeps the first failure, naming the field, so that callers
// read like a table.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "gateway/api_error.hpp"

namespace collm::gateway {

class field_reader {
 public:
  /// `prefix` is put before names in messages: "stream_options.". The object outlives the reader.
  explicit field_reader(const nlohmann::json& object, std::string prefix = {});

  /// Absent and null fields give the default.
  double number(const char* name, double otherwise, double least, double most);
  std::int64_t integer(const char* name, std::int64_t otherwise, std::int64_t least,
                       std::int64_t most);
  bool boolean(const char* name, bool otherwise);
  /// Of a name or a path: with a control character it is refused, for a NUL would cut it silently
  /// behind the edge.
  std::string string(const char* name, std::string otherwise = {});
  /// Any 64-bit integer, signed or not, as its bits.
  std::optional<std::uint64_t> bits(const char* name);

  /// Null if absent or null.
  const nlohmann::json* find(const char* name) const;
  void fail(const std::string& name, std::string message);
  const std::optional<api_error>& failure() const { return failure_; }

 private:
  void wrong_type(const char* name, const char* expected, const nlohmann::json& got);
  const nlohmann::json* object_;
  std::string prefix_;
  std::optional<api_error> failure_;
};

}  // namespace collm::gateway
