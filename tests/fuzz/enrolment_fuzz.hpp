// A cluster that lets nodes join by tokens, for enrolment_fuzz: what its driver makes inputs of.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "link/authority.hpp"
#include "link/x509.hpp"

namespace collm::fuzz {

/// The first byte of an input, modulo their number: who reads the rest.
enum class enrolment_part : unsigned char { request, signing_request, reply, token };

/// Stands in inputs for the secret of the token that is valid just then.
inline constexpr std::string_view secret_in_inputs = "the secret of a token, 32 bytes.";

struct joining {
  joining();
  ~joining();
  void issue();  ///< another token, as the one before is used

  const std::filesystem::path folder;
  std::shared_ptr<link::authority> head;
  link::x509::key_ptr key;  ///< of the node that joins
  link::join_token token;
};

/// One for the whole process.
joining& the_cluster();

/// What the head answers to the node's own request, as bytes on the wire.
std::string good_reply();

}  // namespace collm::fuzz
