#include "gateway/field_reader.hpp"

#include <algorithm>

#include <cmath>
#include <sstream>

namespace collm::gateway {
namespace {

std::string shown(double v) {
  std::ostringstream out;
  out << v;
  return out.str();
}

std::optional<std::int64_t> as_integer(const nlohmann::json& value) {
  if (value.is_number_unsigned()) {
    const auto v = value.get<std::uint64_t>();
    return v <= INT64_MAX ? std::optional<std::int64_t>(v) : std::optional<std::int64_t>(INT64_MAX);
  }
  if (value.is_number_integer()) return value.get<std::int64_t>();
  // JSON has one number type: 16.0 is an integer.
  if (value.is_number_float()) {
    const double v = value.get<double>();
    if (std::trunc(v) == v && std::abs(v) < 9.0e15) return static_cast<std::int64_t>(v);
  }
  return std::nullopt;
}

}  // namespace

field_reader::field_reader(const nlohmann::json& object, std::string prefix)
    : object_(&object), prefix_(std::move(prefix)) {}

const nlohmann::json* field_reader::find(const char* name) const {
  const auto it = object_->find(name);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

void field_reader::fail(const std::string& name, std::string message) {
  if (!failure_) failure_ = api_error::bad(prefix_ + name, std::move(message));
}

void field_reader::wrong_type(const char* name, const char* expected, const nlohmann::json& got) {
  fail(name, "'" + prefix_ + name + "' must be " + expected + ", not " + got.type_name());
}

double field_reader::number(const char* name, double otherwise, double least, double most) {
  const auto* value = find(name);
  if (value == nullptr) return otherwise;
  if (!value->is_number()) {
    wrong_type(name, "a number", *value);
    return otherwise;
  }
  const double v = value->get<double>();
  if (std::isfinite(v) && v >= least && v <= most) return v;
  fail(name, "'" + prefix_ + name + "' must be between " + shown(least) + " and " + shown(most) +
                 ", not " + value->dump());
  return otherwise;
}

std::int64_t field_reader::integer(const char* name, std::int64_t otherwise, std::int64_t least,
                                   std::int64_t most) {
  const auto* value = find(name);
  if (value == nullptr) return otherwise;
  const auto v = as_integer(*value);
  if (!v) {
    wrong_type(name, "an integer", *value);
    return otherwise;
  }
  if (*v >= least && *v <= most) return *v;
  fail(name, "'" + prefix_ + name + "' must be between " + std::to_string(least) + " and " +
                 std::to_string(most) + ", not " + value->dump());
  return otherwise;
}

bool field_reader::boolean(const char* name, bool otherwise) {
  const auto* value = find(name);
  if (value == nullptr) return otherwise;
  if (value->is_boolean()) return value->get<bool>();
  wrong_type(name, "true or false", *value);
  return otherwise;
}

std::string field_reader::string(const char* name, std::string otherwise) {
  const auto* value = find(name);
  if (value == nullptr) return otherwise;
  if (!value->is_string()) {
    wrong_type(name, "a string", *value);
    return otherwise;
  }
  auto text = value->get<std::string>();
  const bool controls =
      std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (!controls) return text;
  fail(name, "'" + prefix_ + name + "' must not contain control characters");
  return otherwise;
}

std::optional<std::uint64_t> field_reader::bits(const char* name) {
  const auto* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_number_unsigned()) return value->get<std::uint64_t>();
  if (value->is_number_integer()) return static_cast<std::uint64_t>(value->get<std::int64_t>());
  wrong_type(name, "an integer", *value);
  return std::nullopt;
}

}  // namespace collm::gateway
