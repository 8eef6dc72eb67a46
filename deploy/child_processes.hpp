// Node processes of this head: started, waited for, ended. Only processes that were started here
// are ever signalled.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "messages/result.hpp"

namespace collm::deploy {

class child_processes {
 public:
  using on_exit = std::function<void(const std::string& name, pid_t pid, int status)>;
  /// `log_dir`: <name>.log takes a child's output. `ended` is called on a thread of this object.
  child_processes(std::filesystem::path executable, std::filesystem::path log_dir, on_exit ended);
  /// Ends (SIGKILL) what still runs and joins.
  ~child_processes();

  result<pid_t> start(const std::string& name, const std::vector<std::string>& arguments);
  /// Signals `pid` if it is a child that still runs.
  void signal(pid_t pid, int number);
  /// Signals all that still run.
  void signal_all(int number);
  std::size_t running() const;

 private:
  void wait_for(const std::string& name, pid_t pid);

  const std::filesystem::path executable_, log_dir_;
  const on_exit ended_;
  mutable std::mutex mutex_;
  std::map<pid_t, std::string> running_;
  std::vector<std::thread> waiters_;
};

}  // namespace collm::deploy
