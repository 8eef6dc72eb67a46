// How verbs declare their flags: every flag has an environment twin (--max-tokens:
// COLLM_MAX_TOKENS), the flag wins. Main thread.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

#include "cli/console.hpp"

namespace collm::cli {

/// "--max-tokens" to "COLLM_MAX_TOKENS"; of "-f,--file" the long name counts.
std::string environment_twin(const std::string& names);

/// One verb: its CLI11 subcommand and what it shares with the others.
class verb {
 public:
  verb(CLI::App& parent, const std::string& name, const std::string& does);

  template <class T>
  CLI::Option* flag(const std::string& names, T& value, const std::string& says) {
    return app_->add_option(names, value, says)->envname(environment_twin(names));
  }
  CLI::Option* toggle(const std::string& names, bool& value, const std::string& says) {
    return app_->add_flag(names, value, says)->envname(environment_twin(names));
  }
  template <class T>
  CLI::Option* argument(const std::string& name, T& value, const std::string& says) {
    return app_->add_option(name, value, says)->required();
  }

  /// Adds --output and runs `body` once the line is parsed; its exit code goes to `exit`.
  void runs(console& io, int& exit, std::function<int()> body);

  CLI::App& app() { return *app_; }

 private:
  CLI::App* app_;
};

/// What is needed to talk to a running cluster.
struct cluster_flags {
  std::string url = "http://127.0.0.1:8080";
  std::string key;
  std::string ca;  ///< PEM; empty: the system's authorities
};
void add_cluster_flags(verb& to, cluster_flags& flags);

}  // namespace collm::cli
