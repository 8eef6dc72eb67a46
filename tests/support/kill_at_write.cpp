// A library to preload: kill -9 of its own process at one of the calls that change the files below
// COLLM_KILL_BELOW. For the tests of what a head or a node that died there makes of its files; the
// product has no hook that does it.
//
// COLLM_KILL is a folder. Its file `calls` gets a line a call ("pwrite64 rounds.db-wal"). While
// there is a file `at` in it ("3 rounds.db-wal"), the process dies at the third call, from then on,
// whose line or whose bytes contain that text: at a write with half of it written, at any other
// call when it is done and nobody has been told.
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <mutex>
#include <string>
#include <string_view>

namespace {

template <class F>
F next_of(const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

std::string required(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) std::abort();  // a test that kills nobody would pass
  return value;
}

/// Never destroyed: threads write until the end of the process.
struct killer {
  const std::string folder = required("COLLM_KILL"), below = required("COLLM_KILL_BELOW") + "/";
  std::mutex one_at_a_time;
  std::string obeyed;  ///< what `at` said at the last call
  long seen = 0;       ///< calls that count since it says so
};

killer& the_killer() {
  static auto* const one = new killer();
  return *one;
}

std::string path_of(int fd) {
  char path[PATH_MAX];
  const auto link = "/proc/self/fd/" + std::to_string(fd);
  const auto size = readlink(link.c_str(), path, sizeof path);
  return size < 0 ? std::string() : std::string(path, static_cast<std::size_t>(size));
}

void note(const killer& k, const std::string& line) {
  static const auto write = next_of<ssize_t (*)(int, const void*, std::size_t)>("write");
  const auto text = line + "\n";
  const int file =
      open((k.folder + "/calls").c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  const auto size = static_cast<ssize_t>(text.size());
  if (file < 0 || write(file, text.data(), text.size()) != size || close(file) != 0) std::abort();
}

/// What `at` says; empty: there is none.
std::string order(const killer& k) {
  char text[256];
  const int file = open((k.folder + "/at").c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  const auto size = read(file, text, sizeof text);
  close(file);
  return size < 0 ? std::string() : std::string(text, static_cast<std::size_t>(size));
}

/// Notes a call; whether the process is to die at it.
bool dies_at(const char* call, const std::string& path, std::string_view bytes = {}) {
  auto& k = the_killer();
  if (!path.starts_with(k.below)) return false;
  const std::lock_guard alone(k.one_at_a_time);
  const auto line = call + (" " + path.substr(k.below.size()));
  note(k, line);
  const auto now = order(k);
  if (now != k.obeyed) k.seen = 0;
  k.obeyed = now;
  if (now.empty()) return false;
  const std::string_view text = std::string_view(now).substr(now.find(' ') + 1);
  const bool counts = line.find(text) != line.npos || bytes.find(text) != bytes.npos;
  return counts && ++k.seen == std::atol(now.c_str());
}

[[noreturn]] void die() {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

/// The call itself, and the end of the process where it is due.
template <class F, class... What>
int done(F next, bool dies, What... what) {
  const int result = next(what...);
  if (dies) die();
  return result;
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void* bytes, std::size_t count) {
  static const auto next = next_of<ssize_t (*)(int, const void*, std::size_t)>("write");
  if (dies_at("write", path_of(fd), {static_cast<const char*>(bytes), count})) {
    (void)next(fd, bytes, count / 2);
    die();
  }
  return next(fd, bytes, count);
}

ssize_t pwrite64(int fd, const void* bytes, std::size_t count, off64_t at) {
  static const auto next = next_of<ssize_t (*)(int, const void*, std::size_t, off64_t)>("pwrite64");
  if (dies_at("pwrite64", path_of(fd), {static_cast<const char*>(bytes), count})) {
    (void)next(fd, bytes, count / 2, at);
    die();
  }
  return next(fd, bytes, count, at);
}

int fsync(int fd) {
  static const auto next = next_of<int (*)(int)>("fsync");
  return done(next, dies_at("fsync", path_of(fd)), fd);
}

int fdatasync(int fd) {
  static const auto next = next_of<int (*)(int)>("fdatasync");
  return done(next, dies_at("fdatasync", path_of(fd)), fd);
}

int ftruncate64(int fd, off64_t size) noexcept {
  static const auto next = next_of<int (*)(int, off64_t)>("ftruncate64");
  return done(next, dies_at("ftruncate64", path_of(fd)), fd, size);
}

int rename(const char* from, const char* to) noexcept {
  static const auto next = next_of<int (*)(const char*, const char*)>("rename");
  return done(next, dies_at("rename", to), from, to);
}

int remove(const char* path) noexcept {
  static const auto next = next_of<int (*)(const char*)>("remove");
  return done(next, dies_at("remove", path), path);
}

int unlink(const char* path) noexcept {
  static const auto next = next_of<int (*)(const char*)>("unlink");
  return done(next, dies_at("unlink", path), path);
}
}
