#include "engine/adapter/gguf_lora.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <string_view>

#include "engine/model/architecture.hpp"

namespace collm::engine {
namespace {

constexpr std::uint64_t alignment = 32;
constexpr std::array<const char*, targets_count> tensor_names = {
    "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
enum class value_type : std::uint32_t { f32 = 6, text = 8 };

/// GGUF v3: keys, then the directory, then data, each tensor on a multiple of `alignment`.
class writer {
 public:
  void key(std::string_view name, std::string_view value) {
    begin(name, value_type::text);
    add(keys_, value);
  }
  void key(std::string_view name, float value) {
    begin(name, value_type::f32);
    add(keys_, value);
  }
  /// `rows` of `columns` numbers.
  void tensor(std::string_view name, std::uint64_t rows, std::uint64_t columns,
              const std::vector<float>& values) {
    ++tensor_count_;
    add(directory_, name);
    add(directory_, std::uint32_t{2});
    add(directory_, columns);
    add(directory_, rows);
    add(directory_, std::uint32_t{0});  // F32
    add(directory_, std::uint64_t{data_.size()});
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(values.data());
    data_.insert(data_.end(), bytes, bytes + values.size() * sizeof(float));
    pad(data_);
  }
  std::vector<std::uint8_t> file() const {
    std::vector<std::uint8_t> all = {'G', 'G', 'U', 'F'};
    add(all, std::uint32_t{3});
    add(all, tensor_count_);
    add(all, key_count_);
    all.insert(all.end(), keys_.begin(), keys_.end());
    all.insert(all.end(), directory_.begin(), directory_.end());
    pad(all);
    all.insert(all.end(), data_.begin(), data_.end());
    return all;
  }

 private:
  using bytes = std::vector<std::uint8_t>;
  template <class T>
  static void add(bytes& to, T number) {
    const auto* raw = reinterpret_cast<const std::uint8_t*>(&number);
    to.insert(to.end(), raw, raw + sizeof number);
  }
  static void add(bytes& to, std::string_view text) {
    add(to, std::uint64_t{text.size()});
    to.insert(to.end(), text.begin(), text.end());
  }
  static void pad(bytes& to) { to.resize((to.size() + alignment - 1) / alignment * alignment); }
  void begin(std::string_view name, value_type type) {
    ++key_count_;
    add(keys_, name);
    add(keys_, static_cast<std::uint32_t>(type));
  }
  bytes keys_, directory_, data_;
  std::uint64_t tensor_count_ = 0, key_count_ = 0;
};

float alpha_of(const lora_pair& p) { return p.scale * static_cast<float>(p.rank); }

/// The alpha of most pairs, so that their B goes out as it is.
float common_alpha(const adapter& from) {
  std::map<float, std::uint32_t> votes;
  for (const auto& layer : from.layers)
    for (const auto& p : layer)
      if (p.rank > 0) ++votes[alpha_of(p)];
  const auto most = std::max_element(
      votes.begin(), votes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most->first;
}

std::vector<float> scaled_b(const lora_pair& p, float factor, std::uint32_t interleaved_head) {
  std::vector<float> b(p.b.size());
  for (std::uint32_t o = 0; o < p.out; ++o) {
    const auto to = interleaved_head == 0 ? o : interleaved_row(o, interleaved_head);
    for (std::uint32_t j = 0; j < p.rank; ++j)
      b[std::size_t{to} * p.rank + j] = p.b[std::size_t{o} * p.rank + j] * factor;
  }
  return b;
}

}  // namespace

result<std::vector<std::uint8_t>> gguf_lora_bytes(const adapter& from, const model_shape& shape) {
  const auto* kind = architecture_named(shape.architecture);
  if (kind == nullptr || from.rank_max == 0 || from.layers.size() != shape.layers)
    return error{errc::bad_request,
                 "an adapter without factors, or for a model of another shape, cannot be written"};
  writer out;
  const float alpha = common_alpha(from);
  out.key("general.architecture", shape.architecture);
  out.key("general.type", "adapter");
  out.key("adapter.type", "lora");
  out.key("adapter.lora.alpha", alpha);
  for (std::size_t layer = 0; layer < from.layers.size(); ++layer)
    for (std::size_t t = 0; t < targets_count; ++t) {
      const lora_pair& p = from.layers[layer][t];
      if (p.rank == 0) continue;
      const auto which = static_cast<target>(t);
      const bool turned = which == target::q || which == target::k;
      const auto name = "blk." + std::to_string(layer) + "." + tensor_names[t] + ".weight";
      out.tensor(name + ".lora_a", p.rank, p.in, p.a);
      out.tensor(name + ".lora_b", p.out, p.rank,
                 scaled_b(p, alpha_of(p) / alpha,
                          turned && kind->interleaved_in_gguf ? shape.head_dim : 0));
    }
  return out.file();
}

result<void> save_gguf_lora(const adapter& from, const model_shape& shape,
                            const std::filesystem::path& file) {
  const auto bytes = gguf_lora_bytes(from, shape);
  if (!bytes) return bytes.failure();
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes->data()),
            static_cast<std::streamsize>(bytes->size()));
  out.close();
  if (!out) return error{errc::io, "cannot write " + file.string() + ": " + std::strerror(errno)};
  return {};
}

}  // namespace collm::engine
