// Which of our tokenizers the parts of a tokenizer.json (normalizer, pre-tokenizer, decoder,
// post-processor) amount to. Pure functions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "messages/result.hpp"

namespace collm::text {

struct pipeline {
  std::string model;          ///< as vocabulary::model
  std::string pre_tokenizer;  ///< as vocabulary::pre_tokenizer
  bool add_space_prefix = false;
  std::string bos;  ///< the token that the post-processor puts first; empty: none
};

/// `tokenizer`: the whole of tokenizer.json. Refuses, by its part and text, what is not built.
result<pipeline> recognise_pipeline(const nlohmann::json& tokenizer);

error refuse_tokenizer(const std::string& message);

}  // namespace collm::text
