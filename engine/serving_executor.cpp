#include "engine/serving_executor.hpp"

#include <algorithm>
#include <exception>
#include <tuple>

#include "messages/assert.hpp"

namespace collm::engine {
namespace {

constexpr std::uint32_t block_tokens = 16;

std::string_view name_of(precision p) { return p == precision::int8 ? "int8" : "f32"; }

error driver_bug(const std::string& what) { return {errc::internal, "step: " + what}; }

}  // namespace

serving_executor::serving_executor(parts p)
    : base_(std::move(p.weights)),
      options_(p.options),
      tokens_(std::move(p.tokens)),
      end_tokens_(text::end_tokens(base_->vocabulary())),
      model_(std::move(p.forward)),
      kv_(std::move(p.kv)),
      cache_(kv_.pages().blocks, kv_.pages().block_tokens),
      samplers_(p.options.threads) {
  planned_.reserve(options_.sequences_max);
  segments_.reserve(options_.sequences_max);
  speaking_.reserve(options_.sequences_max);
  chosen_.reserve(options_.sequences_max);
  model_->watch(options_.clock);
}

// -- versions

result<void> serving_executor::check_adapter(const version_id& version,
                                             const adapter& weights) const {
  const model_shape& shape = base_->shape();
  bool fits = weights.layers.size() == shape.layers;
  for (const auto& layer : weights.layers)
    for (std::size_t t = 0; t < targets_count; ++t) {
      const auto [out, in] = target_shape(shape, static_cast<target>(t));
      fits &= layer[t].rank == 0 || (layer[t].out == out && layer[t].in == in);
    }
  if (fits) return {};
  return error{errc::bad_request, to_string(version) + " was made for a model of another shape"};
}

result<void> serving_executor::load(const version_id& version, adapter_ptr weights) {
  if (version.is_base() || weights == nullptr)
    return error{errc::bad_request,
                 "load needs the name of a version and its weights; the base is always resident"};
  if (auto ok = check_adapter(version, *weights); !ok) return ok;
  const auto known = versions_.find(version);
  if (known == versions_.end()) {
    versions_.emplace(version, resident_version{std::move(weights)});
    return {};
  }
  if (known->second.weights->digest == weights->digest) return {};
  return error{errc::conflict,
               to_string(version) + " is resident with other weights; a version never changes"};
}

result<void> serving_executor::unload(const version_id& version) {
  const auto known = versions_.find(version);
  if (known == versions_.end())
    return error{errc::not_found, to_string(version) + " is not resident"};
  if (known->second.users > 0)
    return error{errc::conflict, to_string(version) + " is in use by " +
                                     std::to_string(known->second.users) + " sequences"};
  versions_.erase(known);
  return {};
}

std::vector<version_id> serving_executor::resident() const {
  std::vector<version_id> names;
  for (const auto& [name, version] : versions_) names.push_back(name);
  return names;
}

// -- sequences

sequence* serving_executor::find(sequence_id id) const {
  const auto at = std::ranges::find(sequences_, id, [](const auto& s) { return s->spec.id; });
  return at == sequences_.end() ? nullptr : at->get();
}

std::uint32_t serving_executor::blocks_for(std::uint64_t tokens) const {
  const std::uint32_t size = kv_.pages().block_tokens;
  return static_cast<std::uint32_t>((tokens + size - 1) / size);
}

result<void> serving_executor::check_fit(const sequence_spec& spec) const {
  const std::uint64_t whole = std::uint64_t{spec.prompt.size()} + spec.max_tokens;
  const std::string asked = std::to_string(spec.prompt.size()) + " prompt tokens and max_tokens " +
                            std::to_string(spec.max_tokens) + " make " + std::to_string(whole);
  if (whole > base_->shape().context)
    return error{
        errc::context_length_exceeded,
        asked + "; the model's context is " + std::to_string(base_->shape().context) + " tokens"};
  // The last token is never computed: nothing follows it.
  if (blocks_for(whole - 1) > cache_.pool().total())
    return error{
        errc::context_length_exceeded,
        asked + "; the whole KV cache holds " +
            std::to_string(std::uint64_t{cache_.pool().total()} * kv_.pages().block_tokens) +
            " tokens"};
  return {};
}

result<void> serving_executor::check_spec(const sequence_spec& spec) const {
  if (sequences_.size() >= options_.sequences_max)
    return error{errc::overloaded, "this engine runs " + std::to_string(options_.sequences_max) +
                                       " sequences already"};
  if (find(spec.id) != nullptr)
    return error{errc::conflict, "sequence " + std::to_string(spec.id) + " is running already"};
  if (spec.prompt.empty()) return error{errc::bad_request, "the prompt has no token"};
  if (spec.max_tokens == 0) return error{errc::bad_request, "max_tokens is 0, must be at least 1"};
  const auto vocab = static_cast<std::int64_t>(base_->shape().vocab);
  for (const std::int32_t token : spec.prompt)
    if (token < 0 || token >= vocab)
      return error{errc::bad_request, "prompt token " + std::to_string(token) +
                                          " is outside the vocabulary of " + std::to_string(vocab)};
  if (!spec.version.is_base() && !versions_.contains(spec.version))
    return error{errc::not_found, to_string(spec.version) + " is not resident"};
  if (auto ok = check(spec.how); !ok) return ok;
  return check_fit(spec);
}

result<void> serving_executor::add(sequence_spec spec) {
  if (auto ok = check_spec(spec); !ok) return ok;
  text::text_stream stream(*tokens_, std::move(spec.stops));
  auto made = std::make_unique<sequence>(std::move(spec), std::move(stream));
  sequence& s = *made;
  if (!s.spec.version.is_base()) {
    resident_version& version = versions_.at(s.spec.version);
    ++version.users;
    s.with = version.weights.get();
  }
  s.tokens.reserve(s.spec.prompt.size() + s.spec.max_tokens);
  s.tokens.assign(s.spec.prompt.begin(), s.spec.prompt.end());
  s.blocks.reserve(blocks_for(s.tokens.capacity()));
  if (has_penalties(s.spec.how))
    for (const std::int32_t token : s.tokens) s.history.add_prompt(token);
  s.seed =
      cache_.start({.base_digest = base_->digest(),
                    .precision = name_of(base_->precision()),
                    .kv_type = kv_halves(base_->precision()) ? "f16" : "f32",
                    .adapter_digest = s.with == nullptr ? std::string_view("none") : s.with->digest,
                    .salt = s.spec.cache_salt});
  sequences_.push_back(std::move(made));
  start(s);
  take_hits(s, s.length());
  return {};
}

void serving_executor::start(sequence& s) {
  s.computed = s.cached = s.chained = 0;
  s.chain = s.seed;
  prefix_queries_ += s.prompt_tokens();
}

// Whole blocks up to `end`, where the sequence stands between two blocks of its chain. Never the
// last known token: its logits are wanted.
void serving_executor::take_hits(sequence& s, std::uint32_t end) {
  const std::uint32_t size = kv_.pages().block_tokens;
  const std::uint32_t limit = std::min(end, s.length() - 1);
  while (s.computed == s.blocks.size() * size && s.computed + size <= limit) {
    const auto block = cache_.find(s.chain, std::span(s.tokens).subspan(s.computed, size));
    if (!block) break;
    s.blocks.push_back(*block);
    ++s.chained;
    s.computed += size;
    const std::uint32_t of_prompt = std::min(s.computed, s.prompt_tokens());
    prefix_hits_ += of_prompt - s.cached;
    s.cached = of_prompt;
  }
}

void serving_executor::drop(sequence& s) {
  cache_.release(s.blocks);
  s.blocks.clear();
  if (s.with != nullptr) --versions_.at(s.spec.version).users;
}

void serving_executor::remove(sequence_id id) {
  sequence* const s = find(id);
  if (s == nullptr) return;
  drop(*s);
  std::erase_if(sequences_, [&](const auto& each) { return each.get() == s; });
}

void serving_executor::preempt(sequence_id id) {
  sequence* const s = find(id);
  if (s == nullptr || s->blocks.empty()) return;
  cache_.release(s->blocks);
  s->blocks.clear();
  start(*s);
}

// -- step

std::uint32_t serving_executor::blocks_needed(sequence_id id, std::uint32_t tokens) const {
  const sequence* const s = find(id);
  if (s == nullptr) return 0;
  const std::uint32_t whole = blocks_for(std::uint64_t{s->computed} + std::min(tokens, s->left()));
  return whole - std::min(whole, static_cast<std::uint32_t>(s->blocks.size()));
}

// All is checked before anything changes: a refused step leaves every sequence as it was.
result<void> serving_executor::check_work(std::span<const step_work> work) const {
  std::uint64_t rows = 0, blocks = 0;
  for (std::size_t i = 0; i < work.size(); ++i) {
    const auto& [id, tokens] = work[i];
    const sequence* const s = find(id);
    const auto name = [id = id] { return "sequence " + std::to_string(id); };
    if (s == nullptr) return driver_bug(name() + " is unknown");
    if (std::ranges::count(work.first(i), id, &step_work::id) > 0)
      return driver_bug(name() + " is planned twice");
    if (tokens == 0 || tokens > s->left())
      return driver_bug(name() + " has " + std::to_string(s->left()) + " tokens left, " +
                        std::to_string(tokens) + " are planned");
    rows += tokens;
    blocks += blocks_needed(id, tokens);
  }
  if (rows > options_.step_tokens_max)
    return driver_bug(std::to_string(rows) + " rows, " + std::to_string(options_.step_tokens_max) +
                      " allowed");
  if (blocks > cache_.available())
    return driver_bug(std::to_string(blocks) + " KV blocks needed, " +
                      std::to_string(cache_.available()) + " free");
  return {};
}

void serving_executor::cover(sequence& s, std::uint32_t end) {
  while (s.blocks.size() < blocks_for(end)) {
    const auto block = cache_.allocate();
    COLLM_ASSERT(block.has_value());  // check_work counted them
    s.blocks.push_back(*block);
  }
}

// Prefix blocks are taken instead of computed: those of a preempted sequence itself, and those that
// others published since. So a planned chunk may shrink, down to no row. Beyond the chunk they are
// taken from blocks that nobody planned.
void serving_executor::plan(std::span<const step_work> work) {
  planned_.clear();
  segments_.clear();
  std::uint32_t spare = cache_.available();
  for (const auto& [id, tokens] : work) spare -= blocks_needed(id, tokens);
  for (const auto& [id, tokens] : work) planned_.push_back({find(id), tokens});
  // Rows of one version side by side, so that its factors are read from memory once a step.
  std::ranges::sort(planned_, [](const planned& a, const planned& b) {
    return std::tie(a.of->spec.version, a.of->spec.id) <
           std::tie(b.of->spec.version, b.of->spec.id);
  });
  for (planned& p : planned_) {
    sequence& s = *p.of;
    const std::uint32_t tokens = p.end;
    std::uint32_t end = s.computed + tokens;
    const std::uint32_t planned_blocks = blocks_for(end);
    take_hits(s, end + spare * kv_.pages().block_tokens);
    spare -= std::max(planned_blocks, static_cast<std::uint32_t>(s.blocks.size())) - planned_blocks;
    end = std::max(end, s.computed);
    cover(s, end);
    p.end = end;
    if (end > s.computed) segments_.push_back(rows_of(s, end));
  }
}

segment serving_executor::rows_of(const sequence& s, std::uint32_t end) const {
  return {.tokens = std::span(s.tokens).subspan(s.computed, end - s.computed),
          .position = s.computed,
          .blocks = s.blocks,
          .with = s.with,
          .logits = end == s.length()};
}

// The wall of the forward pass: what any thread of its team threw, libtorch's or the system's, ends
// here.
result<std::span<const float>> serving_executor::run_forward() {
  if (segments_.empty()) return std::span<const float>{};
  try {
    return model_->forward(segments_, kv_.pages());
  } catch (const std::exception& e) {
    return error{errc::internal, std::string("the forward pass failed: ") + e.what()};
  }
}

result<std::vector<emission>> serving_executor::step(std::span<const step_work> work) {
  if (options_.clock != nullptr) options_.clock->begin();
  if (auto ok = check_work(work); !ok) return ok.failure();
  plan(work);
  mark(phase::plan);
  const auto logits = run_forward();
  if (!logits) return logits.failure();
  speaking_.clear();
  for (const planned& p : planned_) {
    p.of->computed = p.end;
    publish_full_blocks(*p.of);
    if (p.end == p.of->length()) speaking_.push_back(p.of);
  }
  mark(phase::bookkeeping);
  choose(*logits);
  mark(phase::sampling);
  std::vector<emission> emissions;
  emissions.reserve(speaking_.size());
  for (std::size_t i = 0; i < speaking_.size(); ++i)
    emissions.push_back(next_token(*speaking_[i], *std::move(chosen_[i])));
  forget_finished(emissions);
  mark(phase::bookkeeping);
  return emissions;
}

// A greedy token stands in its row's peak already; what costs more is divided among the team.
void serving_executor::choose(std::span<const float> logits) {
  const std::size_t vocab = base_->shape().vocab;
  const auto peaks = model_->peaks();
  chosen_.clear();
  chosen_.resize(speaking_.size());
  const auto work = [&](const member& me) {
    // In turn: the rows of one version, often sampled alike, stand side by side.
    for (std::size_t i = me.index; i < speaking_.size(); i += me.members) {
      const sequence& s = *speaking_[i];
      chosen_[i] = samplers_[me.index].choose({logits.subspan(vocab * i, vocab), peaks[i]},
                                              s.spec.how, s.history, s.produced());
    }
  };
  const auto costly = std::ranges::count_if(
      speaking_, [](const sequence* s) { return !is_plain_greedy(s->spec.how); });
  if (costly > 1)
    run_team(options_.threads, point_, std::cref(work));
  else
    work({});
}

void serving_executor::publish_full_blocks(sequence& s) {
  const std::uint32_t size = kv_.pages().block_tokens;
  for (; (s.chained + 1) * size <= s.computed; ++s.chained)
    s.blocks[s.chained] =
        cache_.publish(s.chain, s.blocks[s.chained],
                       std::span(s.tokens).subspan(std::size_t{s.chained} * size, size));
}

emission serving_executor::next_token(sequence& s, result<choice> chosen) {
  emission e;
  e.id = s.spec.id;
  if (!chosen) {
    e.token = -1;
    e.finish = finish_reason::failed;
    e.text = to_string(s.spec.version) + ": " + chosen.failure().message;
    return e;
  }
  e.token = chosen->token;
  e.logprob = chosen->logprob;
  e.top = std::move(chosen->top);
  s.tokens.push_back(e.token);
  if (has_penalties(s.spec.how)) s.history.add_answer(e.token);
  say(s, e);
  return e;
}

bool serving_executor::ends_text(std::int32_t token) const {
  return std::ranges::find(end_tokens_, token) != end_tokens_.end();
}

void serving_executor::say(sequence& s, emission& e) {
  if (!s.spec.ignore_eos && ends_text(e.token)) {
    e.finish = finish_reason::stop;
    e.text = s.stream.flush();
    return;
  }
  text::text_stream::piece piece = s.stream.push(e.token);
  e.text = std::move(piece.text);
  if (piece.stopped)
    e.finish = finish_reason::stop;
  else if (s.produced() == s.spec.max_tokens)
    e.finish = finish_reason::length;
  if (e.finish == finish_reason::length) e.text += s.stream.flush();
}

void serving_executor::forget_finished(std::span<const emission> emissions) {
  for (const emission& e : emissions)
    if (e.finish != finish_reason::none) remove(e.id);
}

// -- views

std::vector<sequence_view> serving_executor::sequences() const {
  std::vector<sequence_view> views;
  views.reserve(sequences_.size());
  for (const auto& s : sequences_)
    views.push_back({.id = s->spec.id,
                     .prompt_tokens = s->prompt_tokens(),
                     .cached_tokens = s->cached,
                     .length = s->length(),
                     .computed = s->computed,
                     .produced = s->produced(),
                     .max_tokens = s->spec.max_tokens,
                     .blocks = static_cast<std::uint32_t>(s->blocks.size())});
  return views;
}

cache_view serving_executor::cache() const {
  return {.block_tokens = kv_.pages().block_tokens,
          .blocks_total = cache_.pool().total(),
          .blocks_free = cache_.available(),
          .prefix_queries = prefix_queries_,
          .prefix_hits = prefix_hits_};
}

memory_view serving_executor::memory() const {
  memory_view bytes{.base_bytes = base_->mapping_bytes(),
                    .kv_bytes = kv_.bytes(),
                    .activation_bytes = model_->activation_bytes()};
  for (const auto& [name, version] : versions_) bytes.version_bytes += version.weights->bytes;
  for (const auto& s : samplers_) bytes.activation_bytes += s.bytes();
  return bytes;
}

// -- facade

result<std::unique_ptr<executor>> make_executor(base_ptr b, executor_options options) {
  if (b == nullptr) return error{errc::bad_request, "an executor needs a base"};
  if (options.threads < 1 || options.step_tokens_max < 1 || options.sequences_max < 1)
    return error{errc::bad_request,
                 "threads, step_tokens_max and sequences_max must be at least 1"};
  auto kv = kv_storage::make(b->shape(), b->precision(), options.kv_bytes, block_tokens);
  if (!kv) return kv.failure();
  auto tokens = text::tokenizer::make(b->vocabulary());
  if (!tokens) return tokens.failure();
  auto forward = model::make(b, options.threads, options.step_tokens_max);
  return std::unique_ptr<executor>(std::make_unique<serving_executor>(serving_executor::parts{
      std::move(b), options, std::move(*tokens), std::move(forward), std::move(*kv)}));
}

}  // namespace collm::engine
