// Join tokens: what `collm join-token` gives and a node elsewhere presents once. Plain values; time
// (Unix seconds) and randomness are arguments. The head keeps hashes only, in memory: a restart
// ends them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "messages/result.hpp"

namespace collm::link {

/// What the text of a token says:
/// "collm1/edge-c/10.0.0.5:8098/<SHA-256 of the authority's certificate>/<secret>".
struct join_token {
  std::string node;
  std::string address;    ///< of the head's enrolment port, as the node reaches it
  std::string authority;  ///< 64 hex digits: what the node trusts
  std::string secret;     ///< 64 hex digits
};
inline constexpr std::size_t token_secret_bytes = 32;

std::string to_string(const join_token& token);
/// bad_request: that is no token; never repeats the text.
result<join_token> parse_token(std::string_view text);

class token_book {
 public:
  static constexpr std::size_t tokens_max = 64;

  /// Takes note of the token of which `hash` is the SHA-256 of the secret. A node's earlier token
  /// that was not used is void.
  result<void> issue(const std::string& node, const std::string& hash, std::int64_t now,
                     std::int64_t lives_s);
  /// The node that a token is for; refused by name if it was used, is over or is not known.
  result<std::string> check(const std::string& hash, std::int64_t now) const;
  /// check() said yes: from now on it is used.
  void use(const std::string& hash);

 private:
  enum class state : std::uint8_t { fresh, used, replaced };
  struct entry {
    std::string node;
    std::int64_t until = 0;
    state is = state::fresh;
  };
  /// Forgets what is long over, so that a token is told why it is refused for a while.
  void forget(std::int64_t now);

  std::map<std::string, entry> tokens_;  ///< by hash
};

}  // namespace collm::link
