// A library to preload: writes what a process sends and receives over TLS, in plain, into
// COLLM_TLS_TAP. For the test that looks for a site's data on the link.
#include <dlfcn.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace {

/// One file a connection and direction, so that no message is torn by another.
void note(const SSL* of, const char* direction, const void* bytes, int count) {
  if (count <= 0) return;
  const char* folder = std::getenv("COLLM_TLS_TAP");
  if (folder == nullptr) std::abort();  // a tap that misses something would pass the test
  char name[512];
  std::snprintf(name, sizeof name, "%s/%d-%p-%s", folder, getpid(), static_cast<const void*>(of),
                direction);
  std::FILE* file = std::fopen(name, "ab");
  if (file == nullptr) std::abort();
  const auto size = static_cast<std::size_t>(count);
  if (std::fwrite(bytes, 1, size, file) != size || std::fclose(file) != 0) std::abort();
}

template <class F>
F next_of(const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" int SSL_write(SSL* ssl, const void* bytes, int count) {
  static const auto next = next_of<int (*)(SSL*, const void*, int)>("SSL_write");
  const int done = next(ssl, bytes, count);
  note(ssl, "out", bytes, done);
  return done;
}

extern "C" int SSL_read(SSL* ssl, void* bytes, int count) {
  static const auto next = next_of<int (*)(SSL*, void*, int)>("SSL_read");
  const int done = next(ssl, bytes, count);
  note(ssl, "in", bytes, done);
  return done;
}
