// SentencePiece's BPE as Hugging Face `tokenizers` runs it: blanks become U+2581, the letters are
// characters, one without a token becomes its bytes' tokens (<0xNN>), and words are not cut first.
#pragma once

#include "messages/result.hpp"
#include "text/piece_encoder.hpp"
#include "text/vocabulary.hpp"

namespace collm::text {

/// Spells user-defined tokens with U+2581 where GGUF writes blanks, as all the others are. (GGUF's
/// converter writes blanks because its reader looks for these tokens before it replaces blanks.)
void restore_blanks(vocabulary& vocab);

/// Of a vocabulary whose model is "llama", sizes checked, blanks restored. Its merges are those it
/// lists; if none, those that its scores imply.
result<piece_model> make_sentence_piece(const vocabulary& vocab);

}  // namespace collm::text
