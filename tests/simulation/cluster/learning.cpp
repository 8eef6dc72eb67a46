#include "tests/simulation/cluster/learning.hpp"

#include <cstring>
#include <random>

#include "store/digest.hpp"

namespace collm::simulation {

namespace {

constexpr std::uint32_t units_of_a_batch = 3, unit_tokens = 16;

std::uint64_t hash_of(const std::string& text, std::uint64_t more = 0) {
  std::uint64_t h = 1469598103934665603ull ^ more;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return h;
}

std::uint64_t hash_of(const engine::training_sample& s) {
  std::uint64_t h = s.prompt_tokens;
  for (const auto t : s.tokens) h = (h ^ static_cast<std::uint64_t>(t)) * 1099511628211ull;
  return h;
}

double part_of(std::uint64_t h) { return static_cast<double>((h >> 11) % 1000) / 1000; }

/// Most candidates of the first version are better, later ones now and then.
double cross_entropy(const std::string& digest, const engine::training_sample& s) {
  const double version = digest == "initial" ? 1.0 : 0.6 * part_of(hash_of(digest));
  return 1.0 + version + 0.02 * part_of(hash_of(digest, hash_of(s)));
}

}  // namespace

const federation::adapter_shape& learned_shape() {
  static const federation::adapter_shape shape{{{3, 7, 5, 2.0f}, {3, 5, 9, 2.0f}}};
  return shape;
}

std::vector<float> factors_named(const std::string& digest) {
  std::mt19937_64 rng(hash_of(digest));
  std::vector<float> out(learned_shape().count());
  for (float& v : out) v = static_cast<float>(static_cast<int>(rng() % 2000) - 1000) / 2000;
  return out;
}

std::string digest_of_factors(const std::vector<float>& factors) {
  return store::digest_of(std::as_bytes(std::span(factors)));
}

engine::adapter_ptr adapter_with(const std::string& digest, const std::vector<float>& factors) {
  auto a = std::make_shared<engine::adapter>();
  a->digest = digest;
  a->rank_max = 3;
  a->bytes = factors.size() * sizeof(float);
  a->layers.resize(1);
  a->layers[0][0].a = factors;  // all of them: nobody here computes with it
  return a;
}

engine::adapter_ptr adapter_with(const std::string& digest) {
  return adapter_with(digest, factors_named(digest));
}

// -- the trainer

void seeing_trainer::take(const engine::adapter& parent) { values_ = parent.layers.at(0)[0].a; }

result<void> seeing_trainer::begin_batch(std::vector<engine::training_sample> samples) {
  if (next()) return error{errc::conflict, "a batch is in progress"};
  batch_ = std::move(samples);
  units_left_ = units_of_a_batch;
  return {};
}

result<void> seeing_trainer::begin_evaluation(std::vector<engine::training_sample> samples,
                                              engine::adapter_ptr version) {
  if (auto begun = begin_batch(std::move(samples)); !begun) return begun;
  scored_ = std::move(version);
  return {};
}

void seeing_trainer::abandon() {
  batch_.clear();
  scored_ = nullptr;
  units_left_ = 0;
}

std::optional<engine::training_unit> seeing_trainer::next() const {
  if (units_left_ == 0) return {};
  return engine::training_unit{engine::unit_kind::layer_forward, unit_tokens};
}

result<engine::unit_report> seeing_trainer::run() {
  engine::unit_report out;
  if (--units_left_ > 0) return out;
  if (scored_) {
    out.scores.emplace();
    for (const auto& s : batch_)
      out.scores->push_back({.cross_entropy = cross_entropy(scored_->digest, s),
                             .completion_tokens = 1,
                             .exact = false});
  } else {
    std::uint64_t seen = 0;
    out.batch.emplace();
    for (const auto& s : batch_) {
      seen ^= hash_of(s);
      out.batch->tokens += static_cast<std::uint32_t>(s.tokens.size());
    }
    std::mt19937_64 rng(seen);
    for (const auto& f : factors()) {
      const bool trained = which_ == engine::trained_factors::both ||
                           f.is_b == (which_ == engine::trained_factors::b_only);
      for (const float& v : f.values)
        if (trained) const_cast<float&>(v) += 0.01f + static_cast<float>(rng() % 100) / 10000;
    }
    out.batch->step = ++steps_;
    out.batch->loss = 1.5;
    out.batch->samples = static_cast<std::uint32_t>(batch_.size());
  }
  abandon();
  return out;
}

std::vector<engine::factor> seeing_trainer::factors() const {
  std::vector<engine::factor> out;
  std::size_t at = 0;
  for (const auto& p : learned_shape().pairs) {
    const auto all = std::span<const float>(values_);
    out.push_back({"A", p.rank, p.in, false, all.subspan(at, p.a_count())});
    at += p.a_count();
    out.push_back({"B", p.out, p.rank, true, all.subspan(at, p.b_count())});
    at += p.b_count();
  }
  return out;
}

engine::adapter_ptr seeing_trainer::snapshot() const {
  return adapter_with(digest_of_factors(values_), values_);
}

result<void> seeing_trainer::rebase(engine::adapter_ptr parent, engine::trained_factors which) {
  take(*parent);
  which_ = which;
  return {};
}

result<std::vector<std::uint8_t>> seeing_trainer::checkpoint() const {
  std::vector<std::uint8_t> out(values_.size() * sizeof(float));
  std::memcpy(out.data(), values_.data(), out.size());
  return out;
}

result<void> seeing_trainer::resume(std::span<const std::uint8_t> c) {
  if (c.size() != values_.size() * sizeof(float)) return error{errc::conflict, "another shape"};
  std::memcpy(values_.data(), c.data(), c.size());
  return {};
}

// -- the wire

void update_tap::saw(const schema::UpdateChunk::Reader& chunk) {
  const auto data = chunk.getData();
  const auto h = chunk.getHeader();
  if (chunk.getAt() != 0 || data.size() != h.getValues() * sizeof(float)) return;
  std::vector<float> values(h.getValues());
  std::memcpy(values.data(), data.begin(), data.size());
  updates_[h.getDigest().cStr()] = std::move(values);
}

const std::vector<float>* update_tap::find(const std::string& digest) const {
  const auto at = updates_.find(digest);
  return at == updates_.end() ? nullptr : &at->second;
}

}  // namespace collm::simulation
