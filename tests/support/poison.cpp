// A library to preload: a prompt with one token sixteen times over is poison to the engine, whose
// thread then ends the process or never returns, as COLLM_POISON says ("crash", "wedge"). For the
// tests of what a cluster makes of such a request; the product has no hook that does it.
//
// It sees prompts where the engine's prefix cache hashes them: blocks of 16 tokens, 32 bits each.
#include <dlfcn.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace {

using block = std::array<std::int32_t, 16>;
constexpr std::int32_t vocabulary_max = 1 << 20;  // TLS hashes equal bytes, too: larger numbers

bool is_poison(const void* bytes, std::size_t count) {
  block tokens;
  if (count != sizeof tokens) return false;
  std::memcpy(tokens.data(), bytes, sizeof tokens);
  return tokens[0] > 0 && tokens[0] < vocabulary_max &&
         std::all_of(tokens.begin(), tokens.end(), [&](auto t) { return t == tokens[0]; });
}

[[noreturn]] void act() {
  const char* how = std::getenv("COLLM_POISON");
  if (how != nullptr && std::string_view(how) == "wedge")
    for (;;) pause();
  std::abort();
}

}  // namespace

extern "C" int EVP_DigestUpdate(EVP_MD_CTX* context, const void* bytes, std::size_t count) {
  using function = int (*)(EVP_MD_CTX*, const void*, std::size_t);
  static const auto next = reinterpret_cast<function>(dlsym(RTLD_NEXT, "EVP_DigestUpdate"));
  if (is_poison(bytes, count)) act();
  return next(context, bytes, count);
}
