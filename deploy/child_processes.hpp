// Node processes of this head: started, waited for, ended. Only processes that were started here
// are ever signalled.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "messages/result.hpp"

namespace collm::deploy {

/// In a child's environment: the pid of the process that started it and that it ends with.
inline constexpr const char* head_pid_variable = "COLLM_HEAD_PID";

/// In a child's environment: the descriptor of the listening socket that it was handed.
inline constexpr const char* listener_variable = "COLLM_LISTENER";

class child_processes {
 public:
  using on_exit = std::function<void(const std::string& name, pid_t pid, int status)>;
  /// `log_dir`: <name>.log takes a child's output. `ended` is called on a thread of this object.
  child_processes(std::filesystem::path executable, std::filesystem::path log_dir, on_exit ended);
  ~child_processes();
  child_processes(const child_processes&) = delete;
  /// Ends (SIGKILL) what still runs and joins; nothing starts any more.
  void close();

  /// `listener`: a socket that the child is handed a copy of, and nothing else that is open here.
  result<pid_t> start(const std::string& name, const std::vector<std::string>& arguments,
                      std::optional<int> listener = {});
  /// Signals `pid` if it is a child that still runs.
  void signal(pid_t pid, int number);
  /// Signals all that still run; nothing starts any more, so that nobody misses it.
  void signal_last(int number);
  std::size_t running() const;
  /// Threads that wait for a child or are not joined yet: as many as children, not as starts.
  std::size_t waiting_threads() const;

 private:
  void wait_for(const std::string& name, pid_t pid, std::uint64_t start);
  void join_ended();

  const std::filesystem::path executable_, log_dir_;
  const on_exit ended_;
  mutable std::mutex mutex_;
  std::map<pid_t, std::string> running_;
  std::uint64_t starts_ = 0;
  bool closed_ = false;
  std::map<std::uint64_t, std::thread> waiters_;  ///< by start: pids come again
  std::vector<std::uint64_t> ended_waiters_;      ///< whose threads are done but for their return
};

}  // namespace collm::deploy
