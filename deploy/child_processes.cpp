#include "deploy/child_processes.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

extern char** environ;

namespace collm::deploy {

namespace {

constexpr int handed_descriptor = 3;  // the first behind the standard ones

/// The environment of this process and whose child it will be; OpenMP's idle threads must sleep,
/// not spin: engines share the cores with everything else.
std::vector<std::string> child_environment(bool listens) {
  std::vector<std::string> out;
  const std::string head_pid = std::string(head_pid_variable) + "=",
                    listener = std::string(listener_variable) + "=";
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string_view inherited(*e);
    if (!inherited.starts_with(head_pid) && !inherited.starts_with(listener))
      out.emplace_back(inherited);
  }
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) out.emplace_back("OMP_WAIT_POLICY=passive");
  out.push_back(head_pid + std::to_string(getpid()));
  if (listens) out.push_back(listener + std::to_string(handed_descriptor));
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (auto& s : strings) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

child_processes::child_processes(std::filesystem::path executable, std::filesystem::path log_dir,
                                 on_exit ended)
    : executable_(std::move(executable)), log_dir_(std::move(log_dir)), ended_(std::move(ended)) {}

child_processes::~child_processes() { close(); }

void child_processes::close() {
  std::map<std::uint64_t, std::thread> left;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    left.swap(waiters_);
  }
  signal_last(SIGKILL);
  for (auto& [start, waiter] : left) waiter.join();
}

/// A thread cannot join itself: those that are done are joined by the next start.
void child_processes::join_ended() {
  std::vector<std::thread> done;
  {
    const std::lock_guard lock(mutex_);
    for (const auto start : ended_waiters_) {
      if (auto waiter = waiters_.extract(start)) done.push_back(std::move(waiter.mapped()));
    }
    ended_waiters_.clear();
  }
  for (auto& waiter : done) waiter.join();
}

result<pid_t> child_processes::start(const std::string& name,
                                     const std::vector<std::string>& arguments,
                                     std::optional<int> listener) {
  join_ended();
  std::error_code made;
  std::filesystem::create_directories(log_dir_, made);
  if (made) return error{errc::io, "cannot make " + log_dir_.string() + ": " + made.message()};
  const auto log = log_dir_ / (name + ".log");
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&files, 1, 2);
  // Listeners and clients of this process, which not every library marks close-on-exec: a child
  // that held them would keep a port taken, and a connection open, beyond its owner's end.
  if (listener) posix_spawn_file_actions_adddup2(&files, *listener, handed_descriptor);
  posix_spawn_file_actions_addclosefrom_np(&files, handed_descriptor + (listener ? 1 : 0));
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes,
                             &none);  // this process blocks signals for its own sigwait
  // A group of its own: Ctrl-C on the terminal stops the head, which then drains its nodes in
  // order.
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  std::vector<std::string> argv = {executable_.string()};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  auto environment = child_environment(listener.has_value());
  pid_t pid = 0;
  const std::lock_guard lock(mutex_);
  int code = 0;
  if (!closed_) {
    code = posix_spawn(&pid, executable_.c_str(), &files, &attributes, pointers(argv).data(),
                       pointers(environment).data());
  }
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  if (closed_) return error{errc::draining, "no process is started while the cluster stops"};
  if (code != 0)
    return error{errc::io, "cannot start " + executable_.string() + ": " + strerror(code)};
  running_[pid] = name;
  const auto start = ++starts_;
  waiters_.emplace(start, std::thread([this, name, pid, start] { wait_for(name, pid, start); }));
  return pid;
}

void child_processes::wait_for(const std::string& name, pid_t pid, std::uint64_t start) {
  siginfo_t info;
  // WNOWAIT first: the pid stays ours, and cannot be another's, until it is off the list.
  while (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  int status = 0;
  {
    const std::lock_guard lock(mutex_);
    running_.erase(pid);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
  }
  ended_(name, pid, status);
  const std::lock_guard lock(mutex_);
  ended_waiters_.push_back(start);
}

void child_processes::signal(pid_t pid, int number) {
  const std::lock_guard lock(mutex_);
  if (running_.contains(pid)) ::kill(pid, number);
}

void child_processes::signal_last(int number) {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  for (const auto& [pid, name] : running_) ::kill(pid, number);
}

std::size_t child_processes::waiting_threads() const {
  const std::lock_guard lock(mutex_);
  return waiters_.size();
}

std::size_t child_processes::running() const {
  const std::lock_guard lock(mutex_);
  return running_.size();
}

}  // namespace collm::deploy
