#include "deploy/remote_node.hpp"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <chrono>
#include <fstream>

#include "deploy/manifest.hpp"
#include "link/certificates.hpp"
#include "link/enrolment.hpp"

namespace collm::deploy {
namespace {

namespace fs = std::filesystem;

fs::path address_file(const fs::path& folder) { return folder / "link" / "head.address"; }
fs::path incarnation_file(const fs::path& folder) { return folder / "incarnation"; }

/// Whole or not at all.
result<void> write(const fs::path& file, const std::string& text) {
  const fs::path fresh = file.string() + ".new";
  std::ofstream out(fresh, std::ios::binary | std::ios::trunc);
  out << text << std::flush;
  if (!out) return error{errc::io, "cannot write " + fresh.string()};
  out.close();
  std::error_code failed;
  fs::rename(fresh, file, failed);
  if (failed) return error{errc::io, "cannot write " + file.string() + ": " + failed.message()};
  return {};
}

}  // namespace

result<std::string> manifest_for(const std::string& yaml, const std::string& node) {
  const auto parsed = parse_manifest(yaml);
  if (!parsed.value) return error{errc::internal, "the running manifest cannot be read again"};
  std::string site;
  for (const auto& n : parsed.value->nodes)
    if (n.name == node) site = n.site;
  try {
    YAML::Node document = YAML::Load(yaml), spec = document["spec"];
    spec["head"]["stateDir"] = ".";
    for (YAML::Node n : spec["nodes"])
      if (n["name"].as<std::string>() != node) n.remove("data");
    YAML::Node tenants(YAML::NodeType::Sequence);
    for (const YAML::Node& t : spec["tenants"])
      if (t["site"].as<std::string>() == site) tenants.push_back(t);
    if (spec["tenants"]) spec["tenants"] = tenants;
    spec.remove("admin");  // that key opens every gateway; there, callers on the machine are admins
    YAML::Emitter out;
    out << document;
    return std::string(out.c_str()) + "\n";
  } catch (const YAML::Exception& e) {
    return error{errc::internal, std::string("cannot write the node's manifest: ") + e.what()};
  }
}

std::string host_in_address(const std::string& host) {
  return host.find(':') == std::string::npos ? host : "[" + host + "]";
}

result<joined_node> join_cluster(const std::string& text, fs::path folder) {
  auto token = link::parse_token(text);
  if (!token) return token.failure();
  if (folder.empty()) folder = token->node;
  folder = fs::absolute(folder);
  auto member = link::enrol(*token, folder / "link");
  if (!member) return member.failure();
  if (auto done = write(address_file(folder), member->link + "\n"); !done) return done.failure();
  if (auto done = write(folder / "cluster.yaml", member->manifest); !done) return done.failure();
  return joined_node{member->node, member->site, member->link, folder};
}

result<std::string> head_address(const fs::path& folder) {
  std::ifstream in(address_file(folder));
  std::string address;
  if (in >> address) return address;
  return error{errc::not_found,
               folder.string() +
                   " is not the folder of a node that has joined: no address of a "
                   "head in it; join with a token: collm node --join TOKEN --dir " +
                   folder.string()};
}

// The clock alone would do until it is set back; the file alone until the folder is restored.
result<std::uint64_t> next_incarnation(const fs::path& folder) {
  std::uint64_t last = 0;
  std::ifstream(incarnation_file(folder)) >> last;
  const auto clock =
      static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch() /
                                 std::chrono::seconds(1))
      << 16;
  const auto next = std::max(last + 1, clock);
  auto kept = write(incarnation_file(folder), std::to_string(next) + "\n");
  if (!kept) return kept.failure();
  return next;
}

}  // namespace collm::deploy
