// Byte-level BPE (GPT-2 and its heirs): text is cut into pieces, a piece's letters are its bytes.
#pragma once

#include "messages/result.hpp"
#include "text/piece_encoder.hpp"
#include "text/vocabulary.hpp"

namespace collm::text {

/// Of a vocabulary whose model is "gpt2", sizes checked. Refuses, by name, a pre-tokenizer that is
/// not built, and spellings or merges that contradict themselves.
result<piece_model> make_byte_level(const vocabulary& vocab);

}  // namespace collm::text
