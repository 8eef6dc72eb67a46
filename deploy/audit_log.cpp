#include "deploy/audit_log.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <utility>

namespace collm::deploy {

namespace fs = std::filesystem;

audit_log::audit_log(fs::path folder, std::string name, std::uint64_t bytes_max)
    : folder_(std::move(folder)), name_(std::move(name)), bytes_max_(bytes_max) {}

audit_log::~audit_log() {
  if (fd_ >= 0) ::close(fd_);
}

result<std::unique_ptr<audit_log>> audit_log::open(fs::path folder, std::string name,
                                                   std::uint64_t bytes_max) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (!failed) fs::permissions(folder, fs::perms::owner_all, failed);
  if (failed) {
    return error{errc::io, "cannot make the audit trail's folder " + folder.string() + ": " +
                               failed.message()};
  }
  std::unique_ptr<audit_log> made(new audit_log(std::move(folder), std::move(name), bytes_max));
  if (auto opened = made->reopen(); !opened) return opened.failure();
  return made;
}

fs::path audit_log::file(int age) const {
  return folder_ / (name_ + (age == 0 ? "" : "." + std::to_string(age)) + ".jsonl");
}

result<void> audit_log::reopen() {
  const auto path = file(0);
  if (const int old = std::exchange(fd_, -1); old >= 0) ::close(old);
  fd_ = ::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  struct stat about {};
  if (fd_ < 0 || ::fstat(fd_, &about) != 0)
    return error{errc::io, "cannot write " + path.string() + ": " + std::strerror(errno)};
  bytes_ = static_cast<std::uint64_t>(about.st_size);
  char last = '\n';
  torn_ = bytes_ > 0 && ::pread(fd_, &last, 1, about.st_size - 1) == 1 && last != '\n';
  return {};
}

void audit_log::rotate() {
  std::error_code failed;
  for (int age = older_files; age > 0; --age) {
    if (fs::exists(file(age - 1), failed)) fs::rename(file(age - 1), file(age), failed);
  }
  const auto again = reopen();
  if (failed || !again)
    spdlog::error("audit trail: {}", failed ? failed.message() : again.failure().message);
}

void audit_log::add(const std::string& line) {
  const std::lock_guard lock(mutex_);
  if (bytes_ + line.size() + 1 > bytes_max_ && bytes_ > 0) rotate();
  const std::string whole = (torn_ ? "\n" : "") + line + "\n";
  const auto written = fd_ < 0 ? -1 : ::write(fd_, whole.data(), whole.size());
  if (written == static_cast<ssize_t>(whole.size())) {
    bytes_ += whole.size();
    torn_ = false;
    return;
  }
  torn_ = torn_ || written > 0;
  spdlog::error("audit trail: {} took no line ({}): {}", file(0).string(), std::strerror(errno),
                line);
}

std::vector<std::string> audit_log::last(std::size_t most) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> lines;
  std::error_code gone;  // a folder that cannot be read has no lines; add() has said so
  for (const auto& entry : fs::directory_iterator(folder_, gone)) {
    if (entry.path().extension() != ".jsonl") continue;
    std::ifstream in(entry.path());
    for (std::string line; std::getline(in, line);) lines.push_back(std::move(line));
  }
  // Every line begins with its time, in a form that sorts.
  std::sort(lines.begin(), lines.end());
  if (lines.size() > most)
    lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(most));
  return lines;
}

}  // namespace collm::deploy
