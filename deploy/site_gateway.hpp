// gateway::site_port over the site's data actor, and the list of files that were sent. Any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "actors/interfaces.hpp"
#include "gateway/site_port.hpp"

namespace collm::deploy {

/// What is told of files that were sent: bounded, kept in one file beside the site's store.
class file_index {
 public:
  static constexpr std::size_t files_max = 1024;  ///< the oldest beyond are forgotten

  /// `at` empty: forgotten at exit. A file that cannot be read counts as empty and is named by the
  /// next write.
  explicit file_index(std::filesystem::path at);
  /// The same content again replaces its entry.
  result<void> put(gateway::site_file file);
  result<void> remove(const std::string& id);
  std::vector<gateway::site_file> all() const;

 private:
  result<void> write() const;
  const std::filesystem::path at_;
  mutable std::mutex mutex_;
  std::vector<gateway::site_file> files_;
};

class site_gateway final : public gateway::site_port {
 public:
  site_gateway(caf::actor_system& system, actors::site_data_actor data, std::string site,
               std::filesystem::path index);

  const std::string& site() const override { return site_; }
  void remember(std::string answer_id, gateway::asked_question question) override;
  void feedback(std::string answer_id, std::string tenant, std::string answer,
                std::function<void(result<std::string>)> reply) override;
  void add_file(std::string name, std::string text,
                std::function<void(result<gateway::site_file>)> reply) override;
  void files(std::function<void(std::vector<gateway::site_file>)> reply) override;
  void remove_file(std::string id, std::function<void(result<void>)> reply) override;

  /// Drops the actor's handle. Before the actor system ends.
  void close() { data_ = nullptr; }

 private:
  caf::actor_system& system_;
  actors::site_data_actor data_;
  const std::string site_;
  const std::shared_ptr<file_index> index_;
};

}  // namespace collm::deploy
