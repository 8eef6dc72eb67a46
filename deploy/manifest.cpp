#include "deploy/manifest.hpp"

#include <yaml-cpp/eventhandler.h>

#include <algorithm>
#include <sstream>

#include "deploy/manifest_read.hpp"

namespace collm::deploy {
namespace {

constexpr std::size_t manifest_bytes_max = 1u << 20;
constexpr std::size_t manifest_nodes_max = 1u << 16;  // twice what every list at its limit takes

manifest_check failed(place where, std::string message) {
  return {std::nullopt, {{where, "", std::move(message)}}};
}

/// YAML's own set of characters has none of these. yaml-cpp takes 0x04 for the end of the text, and
/// zeros for UTF-16: what is read would not be what stands there.
std::optional<place> control_character(std::string_view yaml) {
  place at{1, 1};
  for (const unsigned char c : yaml) {
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f) return at;
    at = c == '\n' ? place{at.line + 1, 1} : place{at.line, at.column + 1};
  }
  return std::nullopt;
}

/// Counts what a text holds before anything is built of it. What stands where no document can
/// begin, such as a lone ",", yaml-cpp 0.7 leaves where it is and gives as one empty document after
/// the other, for ever: its LoadAll does not return.
class outline final : public YAML::EventHandler {
 public:
  /// Why no further document is to be read; none: the text may go on.
  const std::optional<problem>& fault() const { return fault_; }

  void OnDocumentStart(const YAML::Mark& at) override {
    if (at.pos == last_start_) blame(at, "is not YAML: what stands here belongs to nothing");
    last_start_ = at.pos;
    count(at);
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& at, YAML::anchor_t) override { count(at); }
  void OnAlias(const YAML::Mark& at, YAML::anchor_t) override { count(at); }
  void OnScalar(const YAML::Mark& at, const std::string&, YAML::anchor_t,
                const std::string&) override {
    count(at);
  }
  void OnSequenceStart(const YAML::Mark& at, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    count(at);
  }
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark& at, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    count(at);
  }
  void OnMapEnd() override {}

 private:
  void count(const YAML::Mark& at) {
    if (++count_ > manifest_nodes_max)
      blame(at, "more than " + std::to_string(manifest_nodes_max) + " values; that is no manifest");
  }
  void blame(const YAML::Mark& at, std::string what) {
    if (!fault_) fault_ = problem{place_of(at), "", std::move(what)};
  }

  int last_start_ = -1;
  std::size_t count_ = 0;
  std::optional<problem> fault_;
};

std::optional<problem> fault_of(const std::string& yaml) {
  if (const auto at = control_character(yaml))
    return problem{*at, "", "is not YAML: a control character"};
  std::istringstream in(yaml);
  YAML::Parser parser(in);
  outline seen;
  while (!seen.fault() && parser.HandleNextDocument(seen)) {
  }
  return seen.fault();
}

/// Documents that hold something: comments and a closing "---" leave empty ones. Of a text without
/// a fault.
std::vector<YAML::Node> documents(const std::string& yaml) {
  std::vector<YAML::Node> all = YAML::LoadAll(yaml);
  std::erase_if(all, [](const YAML::Node& n) { return !n.IsDefined() || n.IsNull(); });
  return all;
}

manifest_check read(const std::string& yaml, std::set<std::string>* known) {
  if (auto fault = fault_of(yaml)) return {std::nullopt, {std::move(*fault)}};
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
  (void)read("{spec: {adapters: [{}], nodes: [{}], federation: [{ranks: [{}]}], tenants: [{}]}}",
             &known);
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
