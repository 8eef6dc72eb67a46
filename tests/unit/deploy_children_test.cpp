#include "deploy/child_processes.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <condition_variable>

namespace collm::deploy {
namespace {

class children : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(logs_); }

  /// Starts `true` or `false` and returns its exit status.
  int run(child_processes& in, const std::string& argument) {
    EXPECT_TRUE(in.start("child", {"-c", argument}));
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(ended_.wait_for(lock, std::chrono::seconds(20), [&] { return !exits_.empty(); }));
    const int status = exits_.empty() ? -1 : exits_.back();
    exits_.clear();
    return status;
  }

  child_processes::on_exit noted() {
    return [this](const std::string&, pid_t, int status) {
      const std::lock_guard lock(mutex_);
      exits_.push_back(status);
      ended_.notify_all();
    };
  }

  const std::filesystem::path logs_ =
      std::filesystem::temp_directory_path() / ("collm-children-" + std::to_string(getpid()));
  std::mutex mutex_;
  std::condition_variable ended_;
  std::vector<int> exits_;
};

TEST_F(children, that_are_started_again_and_again_leave_no_threads) {
  child_processes in("/bin/sh", logs_, noted());
  for (int i = 0; i < 20; ++i) EXPECT_EQ(run(in, "exit 0"), 0);
  // The last one, and at most one that has told its end and not yet left its thread.
  EXPECT_LE(in.waiting_threads(), 3u);
  EXPECT_EQ(in.running(), 0u);
}

TEST_F(children, know_whose_they_are) {
  child_processes in("/bin/sh", logs_, noted());
  EXPECT_EQ(run(in, "test \"$COLLM_HEAD_PID\" = \"$PPID\""), 0);
}

TEST_F(children, inherit_no_open_file) {
  const int open = ::fcntl(STDERR_FILENO, F_DUPFD, 100);
  ASSERT_GE(open, 100);
  child_processes in("/bin/sh", logs_, noted());
  EXPECT_EQ(run(in, "test -e /proc/$$/fd/2 && ! test -e /proc/$$/fd/" + std::to_string(open)), 0);
  ::close(open);
}

TEST_F(children, are_handed_one_socket_and_told_where_it_is) {
  const int socket = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
  ASSERT_GE(socket, 100);
  ::setenv(listener_variable, "17", 1);  // of this process's own head
  child_processes in("/bin/sh", logs_, noted());
  ASSERT_TRUE(in.start("child",
                       {"-c",
                        "test \"$COLLM_LISTENER\" = 3 && test -e /proc/$$/fd/3 && "
                        "! test -e /proc/$$/fd/" +
                            std::to_string(socket)},
                       socket));
  std::unique_lock lock(mutex_);
  EXPECT_TRUE(ended_.wait_for(lock, std::chrono::seconds(20), [&] { return !exits_.empty(); }));
  EXPECT_EQ(exits_, std::vector<int>{0});
  exits_.clear();
  lock.unlock();
  EXPECT_EQ(run(in, "test -z \"$COLLM_LISTENER\" && ! test -e /proc/$$/fd/3"), 0);
  ::unsetenv(listener_variable);
  ::close(socket);
}

TEST_F(children, are_told_to_end_and_none_is_started_after_that) {
  child_processes in("/bin/sh", logs_, noted());
  ASSERT_TRUE(in.start("child", {"-c", "exec sleep 600"}));
  in.signal_last(SIGTERM);
  const auto late = in.start("child", {"-c", "exec sleep 600"});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.failure().code, errc::draining);
  std::unique_lock lock(mutex_);
  EXPECT_TRUE(ended_.wait_for(lock, std::chrono::seconds(20), [&] { return !exits_.empty(); }));
  EXPECT_EQ(exits_, std::vector<int>{SIGTERM}) << "and nobody waits for one that was never told";
}

TEST_F(children, are_ended_and_not_started_after_the_close) {
  child_processes in("/bin/sh", logs_, noted());
  ASSERT_TRUE(in.start("child", {"-c", "exec sleep 600"}));
  in.close();
  EXPECT_EQ(in.running(), 0u);
  const auto late = in.start("child", {"-c", "exit 0"});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.failure().code, errc::draining);
}

}  // namespace
}  // namespace collm::deploy
