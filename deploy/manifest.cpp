#include "deploy/manifest.hpp"

#include <algorithm>
#include <sstream>

#include "deploy/manifest_read.hpp"

namespace collm::deploy {
namespace {

constexpr std::size_t manifest_bytes_max = 1u << 20;

manifest_check failed(place where, std::string message) {
  return {std::nullopt, {{where, "", std::move(message)}}};
}

/// Documents that hold something: comments and a closing "---" leave empty ones.
std::vector<YAML::Node> documents(const std::string& yaml) {
  std::vector<YAML::Node> all = YAML::LoadAll(yaml);
  std::erase_if(all, [](const YAML::Node& n) { return !n.IsDefined() || n.IsNull(); });
  return all;
}

manifest_check read(const std::string& yaml, std::set<std::string>* known) {
  const std::vector<YAML::Node> all = documents(yaml);
  if (all.empty())
    return failed({1, 1},
                  "the text is empty; a manifest starts with apiVersion: collm.dev/v1alpha1");
  if (!all[0].IsMap())
    return failed(place_of(all[0].Mark()),
                  "expects a mapping (apiVersion, kind, metadata, spec), found " + kind_of(all[0]));
  if (all.size() > 1)
    return failed(place_of(all[1].Mark()), "a second document; one manifest describes one cluster");
  manifest m;
  manifest_notes notes;
  section document(notes, all[0], "", "");
  read_cluster(document, m);
  m.places = std::move(notes.places);
  complete_cluster(m);
  check_cluster(m, notes.problems);
  std::stable_sort(notes.problems.begin(), notes.problems.end(),
                   [](const problem& a, const problem& b) { return a.where < b.where; });
  if (known) *known = std::move(notes.known);
  if (!notes.problems.empty()) return {std::nullopt, std::move(notes.problems)};
  return {std::move(m), {}};
}

}  // namespace

manifest_check parse_manifest(std::string_view yaml) {
  if (yaml.size() > manifest_bytes_max)
    return failed({1, 1}, "is larger than 1Mi; that is no manifest");
  try {
    return read(std::string(yaml), nullptr);
  } catch (const YAML::Exception& wrong) {
    return failed(place_of(wrong.mark), "is not YAML: " + wrong.msg);
  }
}

std::vector<std::string> manifest_fields() {
  // One entry of every list: what is asked for does not depend on what is written.
  std::set<std::string> known;
  (void)read("{spec: {adapters: [{}], nodes: [{}], federation: [{}], tenants: [{}]}}", &known);
  return {known.begin(), known.end()};
}

place manifest::where(std::string field) const {
  for (;;) {
    if (const auto found = places.find(field); found != places.end()) return found->second;
    const auto cut = field.find_last_of(".[");
    if (cut == std::string::npos) return {1, 1};
    field.resize(cut);
  }
}

std::string to_string(const problem& p, std::string_view file) {
  std::ostringstream text;
  text << file;
  if (p.where.line) text << ':' << p.where.line << ':' << p.where.column;
  text << ": ";
  if (!p.field.empty()) text << p.field << ": ";
  text << p.message;
  return text.str();
}

std::string to_string(const address& a) {
  const bool v6 = a.host.find(':') != std::string::npos;
  std::ostringstream text;
  text << (v6 ? "[" : "") << a.host << (v6 ? "]:" : ":") << a.port;
  return text.str();
}

std::string url_of(const address& a, const std::optional<tls_spec>& tls) {
  return (tls ? "https://" : "http://") + to_string(a);
}

std::string shown_address(const address& a, const std::optional<tls_spec>& tls) {
  return tls ? url_of(a, tls) : to_string(a);
}

std::string_view to_string(placement p) {
  return p == placement::thread ? "thread" : p == placement::process ? "process" : "remote";
}

}  // namespace collm::deploy
