// The tokenizer of a Hugging Face folder: tokenizer.json, tokenizer_config.json and
// chat_template.jinja as a vocabulary. What is not built is refused by name. Pure.
#pragma once

#include <string_view>

#include "messages/result.hpp"
#include "text/vocabulary.hpp"

namespace collm::text {

/// The texts of tokenizer.json, tokenizer_config.json and chat_template.jinja, which outranks the
/// template in the former; all but the first may be empty. The token ids must run from 0 without
/// gaps; a model whose embeddings have more rows needs pad_tokens().
result<vocabulary> parse_tokenizer_json(std::string_view tokenizer, std::string_view config = {},
                                        std::string_view chat_template = {});

}  // namespace collm::text
