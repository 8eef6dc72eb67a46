// Reads one YAML mapping field by field: each field that is asked for becomes known, close()
// reports the others with the nearest known name. Keeps going after a problem, so that a user sees
// all of them. Inside deploy/ only; one thread.
#pragma once

#include <yaml-cpp/yaml.h>

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "deploy/manifest.hpp"
#include "deploy/manifest_values.hpp"

namespace collm::deploy {

/// What reading gathers.
struct manifest_notes {
  std::vector<problem> problems;
  std::map<std::string, place> places;  ///< of each field that was written
  std::set<std::string> known;  ///< patterns of all fields asked for: "spec.nodes[].threads"
};

enum class presence : std::uint8_t { optional, required };

class section {
 public:
  /// `node` may be undefined: then nothing is present, and required fields are not missed.
  section(manifest_notes& into, YAML::Node node, std::string path, std::string pattern);

  template <class T>
  void read(const std::string& name, T& out, const value_parser<T>& parse,
            presence need = presence::optional) {
    const std::optional<std::string> text = scalar(name, need);
    if (!text) return;
    result<T> value = parse(*text);
    if (value)
      out = std::move(*value);
    else
      blame(name, value.failure().message);
  }
  template <class T>
  void read(const std::string& name, std::optional<T>& out, const value_parser<T>& parse) {
    T value{};
    const std::size_t before = into_.problems.size();
    if (!has(name)) return know(name);
    read(name, value, parse);
    if (into_.problems.size() == before) out = value;
  }
  /// A list of scalars; absent: `out` stays.
  template <class T>
  void read_list(const std::string& name, std::vector<T>& out, const value_parser<T>& parse,
                 std::size_t most) {
    std::vector<T> values;
    const bool there = has(name);
    each_scalar(name, most, [&](const std::string& path, place at, const std::string& text) {
      result<T> value = parse(text);
      if (value)
        values.push_back(std::move(*value));
      else
        into_.problems.push_back({at, path, value.failure().message});
    });
    if (there) out = std::move(values);
  }
  /// A mapping of free names to texts.
  void read_texts(const std::string& name, std::map<std::string, std::string>& out);

  /// A mapping below this one.
  section child(const std::string& name, presence need = presence::optional);
  /// Each mapping of a list; `most` bounds it.
  void each(const std::string& name, std::size_t most, const std::function<void(section&)>& body,
            presence need = presence::optional);

  bool present() const { return node_.IsDefined() && node_.IsMap(); }
  bool has(const std::string& name) const;
  bool is_scalar(const std::string& name) const;
  const std::string& path() const { return path_; }
  std::string path_of(const std::string& name) const {
    return path_.empty() ? name : path_ + "." + name;
  }
  /// A problem at that field, or at this mapping if it was not written.
  void blame(const std::string& name, std::string message);

  /// Reports fields that nobody asked for. Call last.
  void close();

 private:
  void know(const std::string& name);
  YAML::Node value(const std::string& name) const;
  place place_of(const std::string& name) const;
  void miss(const std::string& name);
  std::optional<std::string> scalar(const std::string& name, presence need);
  void each_scalar(const std::string& name, std::size_t most,
                   const std::function<void(const std::string&, place, const std::string&)>& body);
  void note_keys();

  manifest_notes& into_;
  YAML::Node node_;
  std::string path_, pattern_;
  std::map<std::string, place> keys_;  ///< written here
  std::vector<std::string> asked_;
};

/// "a mapping", "a list", "a single value" or "nothing".
std::string kind_of(const YAML::Node& node);
place place_of(const YAML::Mark& mark);

}  // namespace collm::deploy
