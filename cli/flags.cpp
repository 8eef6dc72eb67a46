#include "cli/flags.hpp"

#include <cctype>

namespace collm::cli {

std::string environment_twin(const std::string& names) {
  const auto dashes = names.rfind("--");
  std::string twin = "COLLM_";
  for (const char c : names.substr(dashes == std::string::npos ? 0 : dashes + 2)) {
    twin += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return twin;
}

verb::verb(CLI::App& parent, const std::string& name, const std::string& does)
    : app_(parent.add_subcommand(name, does)) {}

void verb::runs(console& io, int& exit, std::function<int()> body) {
  const auto output = std::make_shared<std::string>("text");
  flag("--output", *output, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app_->callback([&io, &exit, output, body = std::move(body)] {
    io.choose_json(*output == "json");
    exit = body();
  });
}

void add_cluster_flags(verb& to, cluster_flags& flags) {
  to.flag("--url", flags.url, "the head, or a node's own gateway")->capture_default_str();
  to.flag("--key", flags.key, "API key, where the cluster has tenants or an admin key");
  to.flag("--ca", flags.ca,
          "PEM file of whom to trust at an https address; a gateway's own certificate will do");
}

}  // namespace collm::cli
