#include "deploy/manifest_section.hpp"

#include <algorithm>

namespace collm::deploy {

place place_of(const YAML::Mark& mark) {
  if (mark.is_null()) return {1, 1};
  return {static_cast<std::uint32_t>(mark.line + 1), static_cast<std::uint32_t>(mark.column + 1)};
}

std::string kind_of(const YAML::Node& node) {
  if (!node.IsDefined() || node.IsNull()) return "nothing";
  return node.IsMap() ? "a mapping" : node.IsSequence() ? "a list" : "a single value";
}

section::section(manifest_notes& into, YAML::Node node, std::string path, std::string pattern)
    : into_(into), node_(std::move(node)), path_(std::move(path)), pattern_(std::move(pattern)) {
  if (present()) note_keys();
}

void section::note_keys() {
  for (const auto& entry : node_) {
    const place at = deploy::place_of(entry.first.Mark());
    if (!entry.first.IsScalar()) {
      into_.problems.push_back(
          {at, path_, "a field name is a single word, not " + kind_of(entry.first)});
      continue;
    }
    const std::string name = entry.first.Scalar();
    const auto [first, fresh] = keys_.emplace(name, at);
    if (!fresh) {
      into_.problems.push_back(
          {at, path_of(name),
           "is written twice; first in line " + std::to_string(first->second.line)});
      continue;
    }
    const YAML::Mark mark = entry.second.Mark();
    into_.places[path_of(name)] = mark.is_null() ? at : deploy::place_of(mark);
  }
}

void section::know(const std::string& name) {
  asked_.push_back(name);
  into_.known.insert(pattern_.empty() ? name : pattern_ + "." + name);
}

bool section::has(const std::string& name) const { return keys_.contains(name); }

bool section::is_scalar(const std::string& name) const {
  return has(name) && value(name).IsScalar();
}

YAML::Node section::value(const std::string& name) const {
  const YAML::Node& constant = node_;  // operator[] of a mutable node would insert
  return constant[name];
}

place section::place_of(const std::string& name) const {
  const YAML::Node node = value(name);
  // Null and flow nodes carry no mark of their own; their key does.
  if (!node.IsDefined() || node.IsNull() || node.Mark().is_null()) return keys_.at(name);
  return deploy::place_of(node.Mark());
}

void section::blame(const std::string& name, std::string message) {
  const place at = has(name) ? place_of(name) : deploy::place_of(node_.Mark());
  into_.problems.push_back({at, path_of(name), std::move(message)});
}

void section::miss(const std::string& name) {
  if (present())
    into_.problems.push_back({deploy::place_of(node_.Mark()), path_of(name), "is required"});
}

std::optional<std::string> section::scalar(const std::string& name, presence need) {
  know(name);
  if (!has(name)) {
    if (need == presence::required) miss(name);
    return std::nullopt;
  }
  const YAML::Node node = value(name);
  if (!node.IsScalar()) {
    blame(name, "expects a single value, found " + kind_of(node));
    return std::nullopt;
  }
  return node.Scalar();
}

void section::each_scalar(
    const std::string& name, std::size_t most,
    const std::function<void(const std::string&, place, const std::string&)>& body) {
  know(name);
  if (!has(name)) return;
  const YAML::Node list = value(name);
  if (!list.IsSequence())
    return blame(name, "expects a list such as [a, b], found " + kind_of(list));
  if (list.size() > most)
    return blame(
        name, "has " + std::to_string(list.size()) + " entries; at most " + std::to_string(most));
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string path = path_of(name) + "[" + std::to_string(i) + "]";
    const place at = deploy::place_of(list[i].Mark());
    if (list[i].IsScalar())
      body(path, at, list[i].Scalar());
    else
      into_.problems.push_back({at, path, "expects a single value, found " + kind_of(list[i])});
  }
}

void section::read_texts(const std::string& name, std::map<std::string, std::string>& out) {
  know(name);
  if (!has(name)) return;
  const YAML::Node map = value(name);
  if (!map.IsMap())
    return blame(name, "expects a mapping of names to texts, found " + kind_of(map));
  for (const auto& entry : map) {
    if (entry.first.IsScalar() && entry.second.IsScalar())
      out[entry.first.Scalar()] = entry.second.Scalar();
    else
      blame(name, "expects a mapping of names to texts");
  }
}

section section::child(const std::string& name, presence need) {
  know(name);
  const std::string pattern = pattern_.empty() ? name : pattern_ + "." + name;
  if (!has(name)) {
    if (need == presence::required) miss(name);
    return {into_, YAML::Node(YAML::NodeType::Undefined), path_of(name), pattern};
  }
  const YAML::Node node = value(name);
  if (!node.IsMap()) blame(name, "expects a mapping, found " + kind_of(node));
  return {into_, node, path_of(name), pattern};
}

void section::each(const std::string& name, std::size_t most,
                   const std::function<void(section&)>& body, presence need) {
  know(name);
  if (!has(name)) {
    if (need == presence::required) miss(name);
    return;
  }
  const YAML::Node list = value(name);
  if (!list.IsSequence()) return blame(name, "expects a list, found " + kind_of(list));
  if (list.size() > most)
    return blame(
        name, "has " + std::to_string(list.size()) + " entries; at most " + std::to_string(most));
  const std::string pattern = pattern_.empty() ? name : pattern_ + "." + name;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string path = path_of(name) + "[" + std::to_string(i) + "]";
    const place at = deploy::place_of(list[i].Mark());
    into_.places[path] = at;
    if (!list[i].IsMap()) {
      into_.problems.push_back({at, path, "expects a mapping, found " + kind_of(list[i])});
      continue;
    }
    section item(into_, list[i], path, pattern + "[]");
    body(item);
    item.close();
  }
}

void section::close() {
  for (const auto& [name, at] : keys_) {
    if (std::find(asked_.begin(), asked_.end(), name) != asked_.end()) continue;
    const std::string meant = nearest(name, asked_);
    into_.problems.push_back(
        {at, path_of(name),
         "unknown field; " + (meant.empty() ? "known here: " + joined(asked_)
                                            : "did you mean \"" + meant + "\"?")});
  }
}

}  // namespace collm::deploy
