#include "engine/model/gguf_parse.hpp"

#include <cstring>
#include <type_traits>

namespace collm::engine {
namespace {

constexpr std::uint64_t string_bytes_max =
    1u << 20;  // a chat template is the longest in use, some 10 KiB
constexpr std::uint64_t entries_max = 1u << 20;  // keys or tensors of one file
// Of all arrays of one file: a number takes 8 bytes here and may take one there. The largest
// vocabularies have a million.
constexpr std::uint64_t elements_max = 1u << 24;
constexpr std::uint64_t dims_max = 4;  // ggml's own bound
constexpr std::uint32_t alignment_default = 32;

error corrupt(const std::string& what) { return {errc::corrupt, "GGUF: " + what, 0}; }

enum class value_type : std::uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

/// Reads forward through the bytes; after a failed read `bad()` stays true and every value is zero.
class cursor {
 public:
  explicit cursor(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  template <class T>
  T number() {
    static_assert(std::is_arithmetic_v<T>);
    T v{};
    if (left() < sizeof(T)) return fail(), v;
    std::memcpy(&v, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return v;
  }

  std::string text() {
    const auto size = number<std::uint64_t>();
    if (bad_ || size > string_bytes_max || size > left()) return fail(), std::string();
    std::string s(reinterpret_cast<const char*>(bytes_.data()) + at_, size);
    at_ += size;
    return s;
  }

  std::uint64_t left() const { return bytes_.size() - at_; }
  std::uint64_t at() const { return at_; }
  bool bad() const { return bad_; }
  void fail() { bad_ = true, at_ = bytes_.size(); }

 private:
  std::span<const std::uint8_t> bytes_;
  std::uint64_t at_ = 0;
  bool bad_ = false;
};

/// Bytes that one array element takes at least: bounds a count before anything is allocated.
std::uint64_t bytes_least(value_type t) {
  constexpr std::uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
  return sizes[static_cast<std::uint32_t>(t)];
}

std::int64_t read_integer(cursor& in, value_type t) {
  switch (t) {
    case value_type::u8:
    case value_type::boolean:
      return in.number<std::uint8_t>();
    case value_type::i8:
      return in.number<std::int8_t>();
    case value_type::u16:
      return in.number<std::uint16_t>();
    case value_type::i16:
      return in.number<std::int16_t>();
    case value_type::u32:
      return in.number<std::uint32_t>();
    case value_type::i32:
      return in.number<std::int32_t>();
    default:
      return in.number<std::int64_t>();
  }
}

double read_real(cursor& in, value_type t) {
  return t == value_type::f32 ? static_cast<double>(in.number<float>()) : in.number<double>();
}

bool is_real(value_type t) { return t == value_type::f32 || t == value_type::f64; }

template <class T, class F>
std::vector<T> read_many(cursor& in, std::uint64_t count, F&& one) {
  std::vector<T> all;
  all.reserve(count);
  for (std::uint64_t i = 0; i < count && !in.bad(); ++i) all.push_back(one());
  return all;
}

result<gguf_file::value> read_array(cursor& in, const std::string& key, std::uint64_t& elements) {
  const auto raw = in.number<std::uint32_t>();
  const auto count = in.number<std::uint64_t>();
  const auto type = static_cast<value_type>(raw);
  if (in.bad() || raw > 12 || type == value_type::array)
    return corrupt("array '" + key + "' has element type " + std::to_string(raw) +
                   "; expected a number, bool or string");
  if (count > in.left() / bytes_least(type))
    return corrupt("array '" + key + "' claims " + std::to_string(count) +
                   " elements, more than the file holds");
  if (count > elements_max - elements)
    return error{errc::too_large,
                 "GGUF: array '" + key + "' is one of more than " + std::to_string(elements_max) +
                     " elements in all",
                 0};
  elements += count;
  if (type == value_type::string)
    return gguf_file::value(read_many<std::string>(in, count, [&] { return in.text(); }));
  if (is_real(type))
    return gguf_file::value(read_many<double>(in, count, [&] { return read_real(in, type); }));
  return gguf_file::value(
      read_many<std::int64_t>(in, count, [&] { return read_integer(in, type); }));
}

/// `elements`: of the arrays so far.
result<gguf_file::value> read_value(cursor& in, const std::string& key, std::uint64_t& elements) {
  const auto raw = in.number<std::uint32_t>();
  if (in.bad() || raw > 12)
    return corrupt("key '" + key + "' has value type " + std::to_string(raw) +
                   "; expected 0 to 12");
  const auto type = static_cast<value_type>(raw);
  switch (type) {
    case value_type::array:
      return read_array(in, key, elements);
    case value_type::string:
      return gguf_file::value(in.text());
    case value_type::boolean:
      return gguf_file::value(in.number<std::uint8_t>() != 0);
    case value_type::f32:
    case value_type::f64:
      return gguf_file::value(read_real(in, type));
    case value_type::u8:
    case value_type::u16:
    case value_type::u32:
      return gguf_file::value(static_cast<std::uint64_t>(read_integer(in, type)));
    case value_type::u64:
      return gguf_file::value(in.number<std::uint64_t>());
    default:
      return gguf_file::value(read_integer(in, type));
  }
}

struct placed_tensor {
  gguf_tensor tensor;
  std::uint64_t offset = 0;  ///< from the start of the data section
  std::uint64_t bytes = 0;
};

/// Dimensions to bytes, refusing products that overflow.
result<std::uint64_t> tensor_bytes(const gguf_tensor& t) {
  std::uint64_t elements = 1;
  for (auto d : t.dims)
    if (d == 0 || __builtin_mul_overflow(elements, d, &elements))
      return corrupt("tensor '" + t.name + "' has an impossible dimension");
  const auto block = block_of(t.type);
  std::uint64_t bytes = 0;
  if (t.dims[0] % block.elements != 0)
    return corrupt("tensor '" + t.name + "' has rows of " + std::to_string(t.dims[0]) +
                   " elements; expected a multiple of " + std::to_string(block.elements));
  if (__builtin_mul_overflow(elements / block.elements, std::uint64_t{block.bytes}, &bytes))
    return corrupt("tensor '" + t.name + "' is too large");
  return bytes;
}

result<placed_tensor> read_tensor(cursor& in) {
  placed_tensor p;
  p.tensor.name = in.text();
  const auto dims = in.number<std::uint32_t>();
  if (in.bad() || dims == 0 || dims > dims_max)
    return corrupt("tensor '" + p.tensor.name + "' has " + std::to_string(dims) +
                   " dimensions; expected 1 to 4");
  for (std::uint32_t i = 0; i < dims; ++i) p.tensor.dims.push_back(in.number<std::uint64_t>());
  const auto type = in.number<std::uint32_t>();
  p.offset = in.number<std::uint64_t>();
  if (in.bad()) return corrupt("the tensor directory is cut off");
  if (!known_type(type))
    return error{errc::bad_request,
                 "GGUF: tensor '" + p.tensor.name + "' has type " + std::to_string(type) +
                     "; supported: " + known_types(),
                 0};
  p.tensor.type = static_cast<tensor_type>(type);
  auto bytes = tensor_bytes(p.tensor);
  if (!bytes) return bytes.failure();
  p.bytes = *bytes;
  return p;
}

result<std::uint64_t> alignment_of(const gguf_directory& d) {
  const auto found = d.values.find("general.alignment");
  if (found == d.values.end()) return std::uint64_t{alignment_default};
  const auto* v = std::get_if<std::uint64_t>(&found->second);
  if (v == nullptr || *v == 0 || *v > 4096 || (*v & (*v - 1)) != 0)
    return corrupt("general.alignment is not a power of two up to 4096");
  return *v;
}

result<void> read_values(cursor& in, std::uint64_t count, gguf_directory& d) {
  std::uint64_t elements = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    auto key = in.text();
    auto v = read_value(in, key, elements);
    if (!v) return v.failure();
    if (in.bad()) return corrupt("the metadata is cut off at key '" + key + "'");
    if (!d.values.emplace(key, std::move(*v)).second)
      return corrupt("key '" + key + "' is there twice");
  }
  return {};
}

result<void> read_tensors(cursor& in, std::uint64_t count, std::span<const std::uint8_t> bytes,
                          gguf_directory& d) {
  std::vector<placed_tensor> placed;
  for (std::uint64_t i = 0; i < count; ++i) {
    auto p = read_tensor(in);
    if (!p) return p.failure();
    placed.push_back(std::move(*p));
  }
  auto alignment = alignment_of(d);
  if (!alignment) return alignment.failure();
  const auto start = (in.at() + *alignment - 1) / *alignment * *alignment;
  const auto room = start > bytes.size() ? 0 : bytes.size() - start;
  for (auto& p : placed) {
    if (p.offset % *alignment != 0 || p.offset > room || p.bytes > room - p.offset)
      return corrupt("tensor '" + p.tensor.name + "' lies outside the file");
    p.tensor.bytes = bytes.subspan(start + p.offset, p.bytes);
    auto name = p.tensor.name;
    if (!d.tensors.emplace(name, std::move(p.tensor)).second)
      return corrupt("tensor '" + name + "' is there twice");
  }
  return {};
}

}  // namespace

result<gguf_directory> parse_gguf(std::span<const std::uint8_t> bytes) {
  cursor in(bytes);
  if (in.number<std::uint32_t>() != 0x46554747u)
    return corrupt("the file does not start with 'GGUF'");
  const auto version = in.number<std::uint32_t>();
  if (version != 2 && version != 3)
    return error{errc::bad_request,
                 "GGUF: version " + std::to_string(version) + "; supported: 2 and 3", 0};
  const auto tensors = in.number<std::uint64_t>();
  const auto keys = in.number<std::uint64_t>();
  if (in.bad() || tensors > entries_max || keys > entries_max)
    return corrupt("the header claims more than " + std::to_string(entries_max) + " entries");
  gguf_directory d;
  if (auto read = read_values(in, keys, d); !read) return read.failure();
  if (auto read = read_tensors(in, tensors, bytes, d); !read) return read.failure();
  return d;
}

}  // namespace collm::engine
