// No memory, at every place of the gateway's thread where much is asked for: each request is
// answered, or its connection closed, and the gateway serves whoever comes next. This program's
// operator new fails when it is told to.
#include <pthread.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>

#include "tests/support/http_fixture.hpp"

namespace {

/// How many more allocations of the gateway's thread succeed; none fails below 0.
std::atomic<int> left{-1};
/// Each fails from then on, not the one alone.
std::atomic<bool> all_fail{false};

bool gateway_thread() {
  thread_local const bool is = [] {
    std::array<char, 16> name{};
    ::pthread_getname_np(::pthread_self(), name.data(), name.size());
    return std::string_view(name.data()) == "collm-http";
  }();
  return is;
}

/// What is small finds the reserve (cli/memory_reserve.hpp), and must: JSON's destructors allocate.
constexpr std::size_t small = 1024;

bool fails(std::size_t bytes) {
  if (left.load(std::memory_order_relaxed) < 0 || bytes <= small || !gateway_thread()) return false;
  if (left.load() == 0 && all_fail) return true;
  return left.fetch_sub(1) == 0;
}

}  // namespace

// Not inlined, or the compiler finds that free does not belong to new.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  void* const at = fails(bytes) ? nullptr : std::malloc(bytes == 0 ? 1 : bytes);
  if (at == nullptr) throw std::bad_alloc();
  return at;
}
[[gnu::noinline]] void operator delete(void* at) noexcept { std::free(at); }
[[gnu::noinline]] void operator delete(void* at, std::size_t) noexcept { std::free(at); }

namespace collm::gateway::fake {
namespace {

struct question {
  const char* name;
  const char* method;
  const char* target;
  const char* body;
  unsigned status;  ///< with memory
};

constexpr std::array questions{
    question{"stream", "POST", "/v1/chat/completions",
             R"({"model":"tiny","max_tokens":6,"stream":true,)"
             R"("messages":[{"role":"user","content":"bread"}]})",
             200},
    question{"body", "POST", "/v1/completions",
             R"({"model":"tiny","max_tokens":6,"prompt":"bread","logprobs":2})", 200},
    question{"models", "GET", "/v1/models", "", 200},
    question{"status", "GET", "/admin/v1/status", "", 200},
    question{"metrics", "GET", "/metrics", "", 200},
    question{"act", "POST", "/admin/v1/drain", R"({"node":"edge-a"})", 200},
    question{"refused", "POST", "/v1/completions", R"({"prompt":)", 400},
    question{"page", "GET", "/no/such/page", "", 404},
};

class no_memory : public http_test, public testing::WithParamInterface<std::tuple<int, bool>> {
 protected:
  static constexpr int most = 5000;  // more allocations than any of the requests makes

  const question& asked() const { return questions[static_cast<std::size_t>(index())]; }
  /// With one word as long as it takes.
  static std::string large(std::string text) {
    if (const auto at = text.find("bread"); at != std::string::npos)
      text.insert(at, std::string(1500, 'b'));
    return text;
  }
  int index() const { return std::get<0>(GetParam()); }

  /// False: nothing failed, so the request makes no more allocations than that.
  bool survives(int allocations) {
    all_fail = std::get<1>(GetParam());
    left = allocations;
    auto client = peer();
    client.send(client.request(asked().method, asked().target, large(asked().body)));
    const auto got = client.read_reply();
    const bool failed = left < 0 || (all_fail && left == 0);
    const auto length = got.headers.find("content-length");
    const bool whole = length != got.headers.end()
                           ? std::to_string(got.body.size()) == length->second
                           : got.status != 0 && client.ended_well();
    const bool ended = whole || client.ends();
    left = -1;
    EXPECT_TRUE(ended) << asked().name << " has no end, allocation " << allocations;
    EXPECT_TRUE(got.status != 503 || got.headers.contains("retry-after")) << got.raw_head;
    EXPECT_NE(got.status, 500u) << got.body;
    return failed && ended;
  }
};

TEST_P(no_memory, ends_a_request_and_nothing_else) {
  runtime.answer_all();
  server();
  ASSERT_EQ(ask("GET", "/health").status, 200u);
  int n = 0;
  while (n < most && survives(n)) {
    ASSERT_EQ(ask("GET", "/health").status, 200u) << asked().name << " " << n;
    ++n;
  }
  EXPECT_GT(n, 0) << "nothing was made to fail";
  ASSERT_LT(n, most);
  EXPECT_EQ(ask(asked().method, asked().target, large(asked().body)).status, asked().status);
}

INSTANTIATE_TEST_SUITE_P(gateway, no_memory,
                         testing::Combine(testing::Range(0, static_cast<int>(questions.size())),
                                          testing::Bool()),
                         [](const auto& p) {
                           const auto index = static_cast<std::size_t>(std::get<0>(p.param));
                           return std::string(questions[index].name) +
                                  (std::get<1>(p.param) ? "_from_then_on" : "_once");
                         });

}  // namespace
}  // namespace collm::gateway::fake
