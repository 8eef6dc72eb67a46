#include "engine/train/checkpoint.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "engine/sha256.hpp"

namespace collm::engine {
namespace {

constexpr std::string_view magic = "collm training 1";
constexpr std::string_view trained_half = "factors";
constexpr std::size_t digest_bytes = 32;

class byte_writer {
 public:
  void number(std::uint64_t n) { raw(&n, sizeof n); }
  void text(std::string_view s) {
    number(s.size());
    raw(s.data(), s.size());
  }
  void floats(std::span<const float> values) { raw(values.data(), values.size_bytes()); }
  void raw(const void* from, std::size_t n) {
    const auto* at = static_cast<const std::uint8_t*>(from);
    bytes.insert(bytes.end(), at, at + n);
  }
  std::vector<std::uint8_t> bytes;
};

class byte_reader {
 public:
  explicit byte_reader(std::span<const std::uint8_t> bytes) : left_(bytes) {}
  bool raw(void* to, std::size_t n) {
    if (n > left_.size()) return false;
    std::memcpy(to, left_.data(), n);
    left_ = left_.subspan(n);
    return true;
  }
  bool number(std::uint64_t& n) { return raw(&n, sizeof n); }
  bool text(std::string& s) {
    std::uint64_t n = 0;
    if (!number(n) || n > left_.size()) return false;
    s.resize(n);
    return raw(s.data(), n);
  }
  bool floats(std::vector<float>& values) {
    return raw(values.data(), values.size() * sizeof(float));
  }
  bool done() const { return left_.empty(); }

 private:
  std::span<const std::uint8_t> left_;
};

/// Options that decide numbers, by name.
std::vector<std::pair<std::string_view, std::uint64_t>> deciding(const training_options& o) {
  const auto bits = [](float f) { return std::uint64_t{std::bit_cast<std::uint32_t>(f)}; };
  return {{"learning_rate", bits(o.learning_rate)},
          {"warmup_steps", o.warmup_steps},
          {"schedule", static_cast<std::uint64_t>(o.schedule)},
          {"total_steps", o.total_steps},
          {"clip", bits(o.clip)},
          {"weight_decay", bits(o.weight_decay)},
          {"beta1", bits(o.beta1)},
          {"beta2", bits(o.beta2)},
          {"epsilon", bits(o.epsilon)},
          {"lora_plus_ratio", bits(o.lora_plus_ratio)},
          {trained_half, static_cast<std::uint64_t>(o.factors)},
          {"prox_mu", bits(o.prox_mu)},
          {"window_tokens", o.window_tokens},
          {"head_tokens", o.head_tokens}};
}

std::array<std::uint8_t, digest_bytes> digest_of(std::span<const std::uint8_t> bytes) {
  sha256 hash;
  hash.add(bytes.data(), bytes.size());
  return hash.finish();
}

error differs(const std::string& what) {
  return {errc::conflict, "the training checkpoint is of another " + what +
                              ": resume it where that is the same, or start anew"};
}

error damaged() {
  return {errc::corrupt, "the training checkpoint is damaged: remove it and start from its parent"};
}

result<void> check_owner(byte_reader& from, const checkpoint_owner& owner) {
  std::string base, parent;
  if (!from.text(base) || !from.text(parent)) return damaged();
  if (base != owner.base) return differs("base");
  const bool any_parent = owner.parent.empty();
  if (!any_parent && parent != owner.parent) return differs("parent version");
  for (const auto& [name, expected] : deciding(owner.options)) {
    std::uint64_t value = 0;
    if (!from.number(value)) return damaged();
    if (any_parent && name == trained_half) continue;
    if (value != expected) return differs(std::string(name));
  }
  return {};
}

}  // namespace

std::vector<std::uint8_t> write_checkpoint(const checkpoint_owner& owner, const lora_set& set,
                                           const adam_optimizer::state& state) {
  byte_writer to;
  to.text(owner.base);
  to.text(owner.parent);
  for (const auto& [name, value] : deciding(owner.options)) to.number(value);
  for (const auto n : {state.steps, state.a_updates, state.b_updates}) to.number(n);
  to.number(set.values().size());
  to.floats(set.values());
  to.floats(state.mean);
  to.floats(state.square);
  byte_writer whole;
  whole.raw(magic.data(), magic.size());
  const auto digest = digest_of(to.bytes);
  whole.raw(digest.data(), digest.size());
  whole.raw(to.bytes.data(), to.bytes.size());
  return std::move(whole.bytes);
}

result<saved_training> read_checkpoint(std::span<const std::uint8_t> bytes,
                                       const checkpoint_owner& owner, std::size_t values) {
  constexpr std::size_t head = magic.size() + digest_bytes;
  if (bytes.size() < head || std::memcmp(bytes.data(), magic.data(), magic.size()) != 0)
    return damaged();
  const auto digest = digest_of(bytes.subspan(head));
  if (std::memcmp(bytes.data() + magic.size(), digest.data(), digest.size()) != 0) return damaged();
  byte_reader from(bytes.subspan(head));
  if (const auto same = check_owner(from, owner); !same) return same.failure();
  saved_training saved;
  auto& state = saved.optimizer;
  std::uint64_t numbers = 0;
  if (!from.number(state.steps) || !from.number(state.a_updates) || !from.number(state.b_updates) ||
      !from.number(numbers))
    return damaged();
  if (numbers != values) return differs("adapter shape");
  for (auto* const part : {&saved.values, &state.mean, &state.square}) {
    part->resize(numbers);
    if (!from.floats(*part)) return damaged();
  }
  if (!from.done()) return damaged();
  return saved;
}

}  // namespace collm::engine
