// What link_session_fuzz and its driver share: how an input begins, who the peers are, and what of
// the product was reached.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace collm::fuzz {

/// Who speaks, by an input's first byte.
enum class speaks : unsigned char {
  client,     ///< at the native port
  own_node,   ///< at the head's link: edge-a of kitchen, which the head has started
  elsewhere,  ///< edge-c of yard, which runs elsewhere
};
inline constexpr unsigned speakers = 3;

/// `at_once`: the messages come together, none waits for what the one before it brings about.
inline char first_byte(speaks who, bool at_once) {
  return static_cast<char>(static_cast<unsigned>(who) + (at_once ? speakers : 0));
}

/// How often something was called, or said to a peer, since the start.
std::map<std::string, std::uint64_t>& reached();

/// PKCS #10, DER, of a fresh key.
std::string signing_request();

}  // namespace collm::fuzz
