// Fields of a JSON object that may be absent, read without exceptions. Pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace collm::text {

/// The member `name`; null if there is none, or `of` is no object.
inline const nlohmann::json& field(const nlohmann::json& of, const char* name) {
  static const nlohmann::json none;
  if (!of.is_object()) return none;
  const auto at = of.find(name);
  return at == of.end() ? none : *at;
}

inline std::string text_of(const nlohmann::json& value) {
  return value.is_string() ? value.get<std::string>() : std::string();
}

inline bool is_true(const nlohmann::json& value) { return value.is_boolean() && value.get<bool>(); }

/// null, false, 0, "", [] or {}: a setting that is not used.
inline bool is_unset(const nlohmann::json& value) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value == 0;
  return value.is_string() ? value.get_ref<const std::string&>().empty() : value.empty();
}

}  // namespace collm::text
