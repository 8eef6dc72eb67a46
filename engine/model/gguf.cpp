#include "engine/model/gguf.hpp"

#include <algorithm>

#include "engine/kernels/cpu_path.hpp"
#include "engine/model/architecture.hpp"
#include "engine/model/base_weights.hpp"
#include "engine/model/gguf_mapping.hpp"
#include "engine/model/gguf_parse.hpp"
#include "engine/sha256.hpp"

namespace collm::engine {

struct gguf_file::impl {
  file_mapping mapping;
  gguf_directory directory;
};

gguf_file::gguf_file(std::unique_ptr<impl> state) : impl_(std::move(state)) {}
gguf_file::~gguf_file() = default;

result<std::shared_ptr<const gguf_file>> gguf_file::open(const std::filesystem::path& path) {
  auto mapping = file_mapping::open(path);
  if (!mapping) return mapping.failure();
  auto directory = parse_gguf(mapping->bytes());
  if (!directory) {
    auto why = directory.failure();
    why.message = path.string() + ": " + why.message;
    return why;
  }
  auto state = std::make_unique<impl>(impl{std::move(*mapping), std::move(*directory)});
  return std::shared_ptr<const gguf_file>(new gguf_file(std::move(state)));
}

const gguf_file::value* gguf_file::find(const std::string& key) const {
  const auto found = impl_->directory.values.find(key);
  return found == impl_->directory.values.end() ? nullptr : &found->second;
}

const gguf_tensor* gguf_file::tensor(const std::string& name) const {
  const auto found = impl_->directory.tensors.find(name);
  return found == impl_->directory.tensors.end() ? nullptr : &found->second;
}

const std::map<std::string, gguf_tensor>& gguf_file::tensors() const {
  return impl_->directory.tensors;
}

std::string gguf_file::sha256() const { return sha256_hex(impl_->mapping.bytes()); }

namespace {

/// model_shape::four_bit: products all of whose tensors have four bits.
std::vector<std::uint8_t> four_bit_products(const model_shape& s,
                                            const std::map<std::string, gguf_tensor>& tensors) {
  std::vector<std::uint8_t> products(s.layers);
  for (std::uint32_t l = 0; l < s.layers; ++l)
    for (std::size_t m = 0; m < matrices_count; ++m) {
      const auto parts = product_parts(s, l, static_cast<matrix>(m));
      const bool all = std::ranges::all_of(parts, [&](const product_part& part) {
        const auto found = tensors.find(part.tensor);
        return found != tensors.end() && has_four_bits(found->second.type);
      });
      if (all && product_shape(s, static_cast<matrix>(m)).second % four_bit_inputs == 0)
        products[l] |= static_cast<std::uint8_t>(1u << m);
    }
  return products;
}

/// Typed look-ups that remember the first failure, so that shape() reads as a list.
class reader {
 public:
  explicit reader(const gguf_file& file) : file_(file) {}

  std::uint32_t count(const std::string& key, std::uint32_t most) {
    const auto v = integer(key);
    if (v < 1 || v > static_cast<std::int64_t>(most))
      return refuse(key, "an integer from 1 to " + std::to_string(most)), 0;
    return static_cast<std::uint32_t>(v);
  }
  std::uint32_t count_or(const std::string& key, std::uint32_t most, std::uint32_t otherwise) {
    return file_.find(key) == nullptr ? otherwise : count(key, most);
  }
  float real_or(const std::string& key, double least, double most, float otherwise) {
    const auto* v = file_.find(key);
    if (v == nullptr) return otherwise;
    const auto* d = std::get_if<double>(v);
    if (d == nullptr || !(*d >= least && *d <= most))
      return refuse(key, "a number in its usual range"), 0;
    return static_cast<float>(*d);
  }
  std::string text_or(const std::string& key, const std::string& otherwise) {
    const auto* v = file_.find(key);
    if (v == nullptr) return otherwise;
    const auto* s = std::get_if<std::string>(v);
    if (s == nullptr) return refuse(key, "a string"), otherwise;
    return *s;
  }
  std::int32_t token_or_none(const std::string& key, std::size_t tokens) {
    if (file_.find(key) == nullptr) return -1;
    const auto v = integer(key);
    if (v < 0 || v >= static_cast<std::int64_t>(tokens)) return refuse(key, "a token id"), -1;
    return static_cast<std::int32_t>(v);
  }
  bool flag_or(const std::string& key, bool otherwise) {
    const auto* v = file_.find(key);
    if (v == nullptr) return otherwise;
    const auto* b = std::get_if<bool>(v);
    if (b == nullptr) return refuse(key, "true or false"), otherwise;
    return *b;
  }
  void refuse(const std::string& key, const std::string& expected) {
    if (first_.message.empty())
      first_ = {errc::bad_request,
                "GGUF: key '" + key + "' is missing or wrong; expected " + expected, 0};
  }
  bool failed() const { return !first_.message.empty(); }
  const error& failure() const { return first_; }

 private:
  std::int64_t integer(const std::string& key) {
    const auto* v = file_.find(key);
    if (v == nullptr) return -1;
    if (const auto* u = std::get_if<std::uint64_t>(v))
      return *u >> 62 ? -1 : static_cast<std::int64_t>(*u);
    if (const auto* i = std::get_if<std::int64_t>(v)) return *i;
    return -1;
  }
  const gguf_file& file_;
  error first_;
};

std::uint32_t vocabulary_rows(const gguf_file& file) {
  const auto* embeddings = file.tensor("token_embd.weight");
  if (embeddings == nullptr || embeddings->dims.size() != 2) return 0;
  return embeddings->dims[1] > (1u << 24) ? 0 : static_cast<std::uint32_t>(embeddings->dims[1]);
}

}  // namespace

result<model_shape> gguf_file::shape() const {
  reader in(*this);
  model_shape s;
  const auto name = in.text_or("general.architecture", "");
  const auto* kind = architecture_named(name);
  if (kind == nullptr)
    return error{
        errc::bad_request,
        "GGUF: architecture '" + name + "' is not built; supported: " + architecture_names(), 0};
  const auto key = [&](const char* rest) { return name + "." + rest; };
  s.layers = in.count(key("block_count"), 1024);
  s.hidden = in.count(key("embedding_length"), 65536);
  s.ffn = in.count(key("feed_forward_length"), 1u << 20);
  s.heads = in.count(key("attention.head_count"), 1024);
  s.kv_heads = in.count_or(key("attention.head_count_kv"), 1024, s.heads);
  s.context = in.count(key("context_length"), 1u << 20);
  s.head_dim =
      in.count_or(key("attention.key_length"), 1024, s.heads == 0 ? 0 : s.hidden / s.heads);
  s.rope_theta = in.real_or(key("rope.freq_base"), 1.0, 1e12, 10000.0f);
  s.norm_epsilon = in.real_or(key("attention.layer_norm_rms_epsilon"), 0.0, 1.0, 1e-5f);
  if (kind->window_pattern != 0) {
    s.window = in.count(key("attention.sliding_window"), 1u << 20);
    s.window_pattern =
        in.count_or(key("attention.sliding_window_pattern"), 1024, kind->window_pattern);
    s.window_rope_theta = in.real_or(key("rope.freq_base_swa"), 1.0, 1e12, 10000.0f);
  }
  s.vocab = vocabulary_rows(*this);
  s.tied_embeddings = tensor("output.weight") == nullptr;
  if (in.text_or(key("rope.scaling.type"), "none") != "none")
    in.refuse(key("rope.scaling.type"), "'none'");
  for (const char* rest : {"final_logit_softcapping", "attn_logit_softcapping"})
    if (find(key(rest)) != nullptr) in.refuse(key(rest), "no such key: it is not built");
  if (in.failed()) return in.failure();
  if (in.count_or(key("rope.dimension_count"), 1024, s.head_dim) != s.head_dim)
    in.refuse(key("rope.dimension_count"), "the head's whole width");
  if (in.failed()) return in.failure();
  apply(*kind, s);
  if (auto right = check_shape(s); !right) return right.failure();
  s.four_bit = four_bit_products(s, tensors());
  const bool some = std::ranges::any_of(s.four_bit, [](auto products) { return products != 0; });
  s.wide = some && chosen_path() != avx512_path;
  return s;
}

result<text::vocabulary> gguf_file::vocabulary() const {
  reader in(*this);
  text::vocabulary v;
  const auto* tokens = find("tokenizer.ggml.tokens");
  const auto* list = tokens == nullptr ? nullptr : std::get_if<std::vector<std::string>>(tokens);
  if (list == nullptr) {
    in.refuse("tokenizer.ggml.tokens", "an array of strings");
    return in.failure();
  }
  v.tokens = *list;
  v.types.assign(v.tokens.size(), text::token_type::normal);
  if (const auto* types = find("tokenizer.ggml.token_type")) {
    const auto* codes = std::get_if<std::vector<std::int64_t>>(types);
    const bool right =
        codes != nullptr && codes->size() == v.tokens.size() &&
        std::all_of(codes->begin(), codes->end(), [](auto c) { return c >= 1 && c <= 6; });
    if (!right) in.refuse("tokenizer.ggml.token_type", "one number from 1 to 6 for each token");
    for (std::size_t i = 0; right && i < codes->size(); ++i)
      v.types[i] = static_cast<text::token_type>((*codes)[i]);
  }
  if (const auto* merges = find("tokenizer.ggml.merges")) {
    const auto* pairs = std::get_if<std::vector<std::string>>(merges);
    if (pairs != nullptr)
      v.merges = *pairs;
    else if (const auto* none = std::get_if<std::vector<std::int64_t>>(merges);
             none == nullptr || !none->empty())
      in.refuse("tokenizer.ggml.merges", "an array of strings");
  }
  if (const auto* scores = find("tokenizer.ggml.scores")) {
    const auto* reals = std::get_if<std::vector<double>>(scores);
    if (reals == nullptr || reals->size() != v.tokens.size())
      in.refuse("tokenizer.ggml.scores", "one number for each token");
    else
      v.scores.assign(reals->begin(), reals->end());
  }
  v.model = in.text_or("tokenizer.ggml.model", "");
  v.pre_tokenizer = in.text_or("tokenizer.ggml.pre", "");
  v.chat_template = in.text_or("tokenizer.chat_template", "");
  v.bos = in.token_or_none("tokenizer.ggml.bos_token_id", v.tokens.size());
  v.eos = in.token_or_none("tokenizer.ggml.eos_token_id", v.tokens.size());
  v.unknown = in.token_or_none("tokenizer.ggml.unknown_token_id", v.tokens.size());
  v.padding = in.token_or_none("tokenizer.ggml.padding_token_id", v.tokens.size());
  const bool sentence_piece = v.model == "llama";
  v.add_bos = in.flag_or("tokenizer.ggml.add_bos_token",
                         v.bos >= 0 && (sentence_piece || v.pre_tokenizer == "llama-bpe"));
  v.add_space_prefix = in.flag_or("tokenizer.ggml.add_space_prefix", sentence_piece);
  if (in.failed()) return in.failure();
  return v;
}

}  // namespace collm::engine
