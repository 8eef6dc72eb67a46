#include "text/tokenizer.hpp"

#include <limits>
#include <utility>

#include "text/byte_level.hpp"
#include "text/piece_encoder.hpp"
#include "text/sentence_piece.hpp"
#include "text/special_tokens.hpp"

namespace collm::text {
namespace {

result<void> check_sizes(const vocabulary& vocab) {
  const std::size_t size = vocab.tokens.size();
  if (size == 0) return refuse_vocabulary("no tokens");
  if (size > std::numeric_limits<std::int32_t>::max())
    return refuse_vocabulary("more than 2^31 - 1 tokens");
  if (vocab.types.size() != size) {
    return refuse_vocabulary(std::to_string(size) + " tokens but " +
                             std::to_string(vocab.types.size()) +
                             " token types; there must be as many");
  }
  using role = std::pair<const char*, std::int32_t>;
  for (const auto& [name, id] : {role{"bos", vocab.bos}, role{"eos", vocab.eos},
                                 role{"unknown", vocab.unknown}, role{"padding", vocab.padding}}) {
    if (id < -1 || (id >= 0 && static_cast<std::size_t>(id) >= size)) {
      return refuse_vocabulary(std::string(name) + " token id " + std::to_string(id) +
                               " is not in 0.." + std::to_string(size - 1) + " (-1: none)");
    }
  }
  if (vocab.add_bos && vocab.bos < 0) {
    return refuse_vocabulary("add_bos_token is true, but there is no bos token id");
  }
  return {};
}

result<piece_model> make_model(const vocabulary& vocab) {
  if (vocab.model == "gpt2") return make_byte_level(vocab);
  if (vocab.model == "llama") return make_sentence_piece(vocab);
  return refuse_vocabulary("tokenizer model " + quoted(vocab.model) +
                           " is not built; supported: 'gpt2', 'llama'");
}

}  // namespace

struct tokenizer::impl {
  vocabulary vocab;
  piece_model model;
  special_tokens specials;

  bool contains(std::int32_t id) const {
    return id >= 0 && static_cast<std::size_t>(id) < model.bytes.size();
  }
};

result<std::shared_ptr<const tokenizer>> tokenizer::make(vocabulary vocab) {
  if (auto ok = check_sizes(vocab); !ok) return ok.failure();
  if (vocab.model == "llama") restore_blanks(vocab);
  auto model = make_model(vocab);
  if (!model) return model.failure();
  special_tokens specials(vocab);
  auto state =
      std::make_unique<impl>(impl{std::move(vocab), std::move(*model), std::move(specials)});
  return std::shared_ptr<const tokenizer>(new tokenizer(std::move(state)));
}

tokenizer::tokenizer(std::unique_ptr<impl> state) : impl_(std::move(state)) {}
tokenizer::~tokenizer() = default;

std::vector<std::int32_t> tokenizer::encode(std::string_view text, bool parse_special) const {
  std::vector<std::int32_t> out;
  out.reserve(text.size() / 3);
  merges::scratch work;
  for (std::size_t from = 0; from < text.size();) {
    const special_tokens::match found = impl_->specials.find(text, from, parse_special);
    impl_->model.encoder->encode(text.substr(from, found.begin - from), work, out);
    if (found.token >= 0) out.push_back(found.token);
    from = found.end;
  }
  return out;
}

std::vector<std::int32_t> tokenizer::encode_prompt(std::string_view text) const {
  std::vector<std::int32_t> out = encode(text, true);
  const vocabulary& v = impl_->vocab;
  if (v.add_bos) out.insert(out.begin(), v.bos);
  return out;
}

std::string_view tokenizer::token_bytes(std::int32_t id) const {
  return impl_->contains(id) ? std::string_view(impl_->model.bytes[static_cast<std::size_t>(id)])
                             : std::string_view();
}

std::string tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::string out;
  for (const std::int32_t id : ids) {
    if (!skip_special || !is_control(id)) out += token_bytes(id);
  }
  if (leads_with_blank() && out.starts_with(' ')) out.erase(0, 1);
  return out;
}

bool tokenizer::is_control(std::int32_t id) const {
  return impl_->contains(id) && is_hidden(impl_->vocab.types[static_cast<std::size_t>(id)]);
}

bool tokenizer::leads_with_blank() const {
  return impl_->vocab.model == "llama" && impl_->vocab.add_space_prefix;
}

std::int32_t tokenizer::size() const {
  return static_cast<std::int32_t>(impl_->model.bytes.size());
}

const vocabulary& tokenizer::vocab() const { return impl_->vocab; }

}  // namespace collm::text
