#include "link/node_book.hpp"

#include <algorithm>
#include <sstream>

#include "link/certificates.hpp"

namespace collm::link {
namespace {

constexpr std::string_view first_line = "# certificates that this head accepts; collm writes this";

error unknown(const std::string& node) {
  return {errc::not_found,
          "no certificate of a node '" + node +
              "' is known here; a node that runs elsewhere joins with a token (collm join-token)"};
}

}  // namespace

// One line a certificate or revocation: "node site accepted id until", "node site revoked since".
std::string node_book::text() const {
  std::ostringstream out;
  out << first_line << "\n";
  for (const auto& [name, e] : nodes_) {
    for (const auto& c : e.accepted)
      out << name << " " << e.site << " accepted " << c.id << " " << c.until << "\n";
    if (e.revoked != 0) out << name << " " << e.site << " revoked " << e.revoked << "\n";
  }
  return std::move(out).str();
}

result<node_book> node_book::parse(std::string_view text) {
  node_book book;
  std::istringstream lines{std::string(text)};
  std::size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.empty() || line.starts_with('#')) continue;
    std::istringstream words(line);
    std::string node, site, what, rest;
    words >> node >> site >> what;
    auto& e = book.nodes_[node];
    e.site = site;
    certificate c;
    if (what == "accepted") {
      words >> c.id >> c.until;
      e.accepted.push_back(c);
    } else if (what == "revoked") {
      words >> e.revoked;
    }
    if (!words || words >> rest || (what != "accepted" && what != "revoked")) {
      return error{errc::corrupt, "line " + std::to_string(number) + " is damaged: \"" +
                                      line.substr(0, 256) +
                                      "\"; take the file from a backup, or remove it and let "
                                      "nodes elsewhere join anew"};
    }
  }
  return book;
}

void node_book::set(const std::string& node, const std::string& site, const std::string& id) {
  nodes_[node] = {site, {{id, 0}}, 0};
}

void node_book::enrol(const std::string& node, const std::string& site, const std::string& id) {
  set(node, site, id);
}

void node_book::add(const std::string& node, const std::string& id) {
  auto& accepted = nodes_[node].accepted;
  if (accepted.size() >= certificates_max) {
    // One that was replaced; else the next after that which the node shows: it may have stored
    // none.
    const auto over = std::find_if(accepted.begin(), accepted.end(),
                                   [](const certificate& c) { return c.until != 0; });
    accepted.erase(over != accepted.end() ? over : accepted.begin() + 1);
  }
  accepted.push_back({id, 0});
}

bool node_book::retire_before(const std::string& node, const std::string& id, std::int64_t until) {
  const auto at = nodes_.find(node);
  if (at == nodes_.end()) return false;
  const auto& known = at->second.accepted;
  const bool held =
      std::any_of(known.begin(), known.end(), [&](const auto& c) { return c.id == id; });
  if (!held) return false;
  bool changed = false;
  for (auto& c : at->second.accepted) {
    if (c.id == id) break;
    if (c.until != 0 && c.until <= until) continue;
    c.until = until;
    changed = true;
  }
  return changed;
}

result<void> node_book::revoke(const std::string& node, std::int64_t now) {
  const auto at = nodes_.find(node);
  if (at == nodes_.end()) return unknown(node);
  at->second.accepted.clear();
  if (at->second.revoked == 0) at->second.revoked = now;
  return {};
}

result<void> node_book::admits(const std::string& node, const std::string& site,
                               const std::string& id, std::int64_t now) const {
  const auto* e = find(node);
  if (e == nullptr) return unknown(node);
  const auto refused = [&](const std::string& why) {
    return error{errc::forbidden, why +
                                      "; it can join again with a new token (collm join-token "
                                      "--node " +
                                      node + ")"};
  };
  if (e->revoked != 0) return refused("the certificate of node '" + node + "' was revoked");
  if (e->site != site)
    return refused("the certificate of node '" + node + "' is of site '" + e->site +
                   "', the manifest says '" + site + "'");
  for (const auto& c : e->accepted) {
    if (c.id != id) continue;
    if (c.until == 0 || now < c.until) return {};
    return refused("this certificate of node '" + node +
                   "' was replaced by a newer one and is not accepted any more");
  }
  return refused("this certificate of node '" + node + "' is not one that this head accepts");
}

const node_book::entry* node_book::find(const std::string& node) const {
  const auto at = nodes_.find(node);
  return at == nodes_.end() ? nullptr : &at->second;
}

}  // namespace collm::link
