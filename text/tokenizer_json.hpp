// The tokenizer of a Hugging Face folder: tokenizer.json, tokenizer_config.json and
// chat_template.jinja as a vocabulary. What is not built is refused by name. Pure functions but for
// the one that reads the folder.
#pragma once

#include <filesystem>
#include <string_view>

#include "messages/result.hpp"
#include "text/vocabulary.hpp"

namespace collm::text {

/// `tokenizer`: the text of tokenizer.json; `config`: that of tokenizer_config.json, may be empty.
/// The token ids must run from 0 without gaps; a model whose embeddings have more rows needs
/// pad_tokens().
result<vocabulary> parse_tokenizer_json(std::string_view tokenizer, std::string_view config);

/// Reads `folder`/tokenizer.json and, where they are, tokenizer_config.json and
/// chat_template.jinja, which outranks the template in the former.
result<vocabulary> read_tokenizer_json(const std::filesystem::path& folder);

}  // namespace collm::text
