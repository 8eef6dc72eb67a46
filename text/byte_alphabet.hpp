// GPT-2's alphabet: each byte has one printable character in which vocabularies spell it. Pure
// functions, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace collm::text {

/// The character that spells `byte`, as UTF-8: printable Latin-1 stands for itself, the others for
/// U+0100 and up.
std::string spell_byte(std::uint8_t byte);

/// The bytes of a vocabulary's spelling; none if a character is not of the alphabet.
std::optional<std::string> unspell(std::string_view spelling);

}  // namespace collm::text
