// Perplexity of a text file, counted both ways that are in use.
#include <cmath>
#include <fstream>
#include <iterator>

#include "deploy/engine_bench.hpp"
#include "text/tokenizer.hpp"

namespace collm::deploy {
namespace {

constexpr std::size_t bytes_per_token_max = 16;  // of text read; bounds the file

result<std::vector<std::int32_t>> tokens_of(const perplexity_options& o,
                                            const text::vocabulary& vocabulary) {
  std::ifstream in(o.text, std::ios::binary);
  if (!in) return error{errc::io, o.text.string() + ": cannot be read"};
  std::string words(std::size_t{o.tokens_max} * bytes_per_token_max, '\0');
  in.read(words.data(), static_cast<std::streamsize>(words.size()));
  if (in.bad()) return error{errc::io, o.text.string() + ": cannot be read to its end"};
  words.resize(static_cast<std::size_t>(in.gcount()));
  auto encoder = text::tokenizer::make(vocabulary);
  if (!encoder) return encoder.failure();
  auto tokens = (*encoder)->encode(words, false);
  if (tokens.size() > o.tokens_max) tokens.resize(o.tokens_max);
  if (tokens.size() < o.window)
    return error{errc::bad_request, o.text.string() + ": " + std::to_string(tokens.size()) +
                                        " tokens are less than one window of " +
                                        std::to_string(o.window)};
  return tokens;
}

/// Nats of `tokens[1..]` together.
result<double> surprise(const engine::base& base, const std::vector<std::int32_t>& tokens) {
  const auto mean =
      engine::cross_entropy(base, tokens, static_cast<std::uint32_t>(tokens.size()), nullptr);
  if (!mean) return mean.failure();
  return *mean * static_cast<double>(tokens.size() - 1);
}

}  // namespace

result<perplexity> measure_perplexity(const perplexity_options& o) {
  if (o.window < 4 || o.tokens_max < o.window)
    return error{errc::bad_request, "a window has 4 tokens or more, and one must fit --tokens"};
  const auto base = engine::open_base(o.model, o.precision, o.cache_dir);
  if (!base) return base.failure();
  const auto& vocabulary = (*base)->vocabulary();
  const auto tokens = tokens_of(o, vocabulary);
  if (!tokens) return tokens.failure();
  perplexity out;
  double all = 0, first_half = 0;
  for (std::size_t at = 0; at + o.window <= tokens->size(); at += o.window, ++out.windows) {
    std::vector<std::int32_t> window(tokens->begin() + static_cast<std::ptrdiff_t>(at),
                                     tokens->begin() + static_cast<std::ptrdiff_t>(at + o.window));
    if (vocabulary.add_bos) window.front() = vocabulary.bos;
    const auto whole = surprise(**base, window);
    if (!whole) return whole.failure();
    window.resize(o.window / 2 + 1);
    const auto half = surprise(**base, window);
    if (!half) return half.failure();
    all += *whole;
    first_half += *half;
  }
  out.all = std::exp(all / (out.windows * (o.window - 1.0)));
  out.second_half = std::exp((all - first_half) / (out.windows * (o.window - 1.0 - o.window / 2)));
  return out;
}

}  // namespace collm::deploy
