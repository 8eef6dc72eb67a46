#include "link/join_tokens.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "link/certificates.hpp"

namespace collm::link {
namespace {

constexpr std::string_view prefix = "collm1";
constexpr std::size_t token_bytes_max = 1024;
constexpr std::int64_t remembered_s = 24 * 3600;  ///< after its end

const char* make_another = "; make a new one: collm join-token";

bool is_digest(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

}  // namespace

std::string to_string(const join_token& token) {
  return std::string(prefix) + "/" + token.node + "/" + token.address + "/" + token.authority +
         "/" + token.secret;
}

result<join_token> parse_token(std::string_view text) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= text.size() && text.size() <= token_bytes_max;) {
    const auto end = std::min(text.find('/', at), text.size());
    parts.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  if (parts.size() != 5 || parts[0] != prefix || !is_plain_name(parts[1]) ||
      parts[2].find(':') == std::string::npos || !is_digest(parts[3]) || !is_digest(parts[4])) {
    return error{errc::bad_request,
                 "this is not a whole join token; collm join-token prints one, such as "
                 "collm1/edge-c/10.0.0.5:8098/…/…"};
  }
  return join_token{parts[1], parts[2], parts[3], parts[4]};
}

void token_book::forget(std::int64_t now) {
  std::erase_if(tokens_, [&](const auto& t) { return now - t.second.until > remembered_s; });
  while (tokens_.size() >= tokens_max) {
    const auto over = std::find_if(tokens_.begin(), tokens_.end(), [&](const auto& t) {
      return t.second.is != state::fresh || t.second.until <= now;
    });
    if (over == tokens_.end()) return;
    tokens_.erase(over);
  }
}

result<void> token_book::issue(const std::string& node, const std::string& hash, std::int64_t now,
                               std::int64_t lives_s) {
  forget(now);
  for (auto& [known, t] : tokens_) {
    if (t.node == node && t.is == state::fresh) t.is = state::replaced;
  }
  if (tokens_.size() >= tokens_max) {
    return error{
        errc::overloaded,
        std::to_string(tokens_max) + " join tokens wait to be used; try again when some are over",
        60000};
  }
  tokens_[hash] = {node, now + lives_s, state::fresh};
  return {};
}

result<std::string> token_book::check(const std::string& hash, std::int64_t now) const {
  const auto at = tokens_.find(hash);
  if (at == tokens_.end()) {
    return error{errc::unauthorized,
                 std::string("this head does not know this join token: it is older than the "
                             "head's last start, or of another cluster") +
                     make_another};
  }
  const auto& t = at->second;
  const std::string whose = "this join token of node '" + t.node + "' ";
  if (t.is == state::used)
    return error{errc::unauthorized, whose + "was used already" + make_another};
  if (t.is == state::replaced)
    return error{errc::unauthorized, whose + "was replaced by a newer one" + make_another};
  if (now >= t.until)
    return error{errc::unauthorized,
                 whose + "expired " + std::to_string(now - t.until) + " s ago" + make_another};
  return t.node;
}

void token_book::use(const std::string& hash) {
  if (const auto at = tokens_.find(hash); at != tokens_.end()) at->second.is = state::used;
}

}  // namespace collm::link
