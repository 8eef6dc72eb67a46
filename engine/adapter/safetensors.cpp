#include "engine/adapter/safetensors.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "messages/json_text.hpp"

namespace collm::engine {
namespace {

using json = nlohmann::json;
static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

constexpr std::uint64_t length_bytes = 8;
constexpr std::uint32_t header_depth_max = 4;

error corrupt(const std::string& what) { return {errc::corrupt, "safetensors: " + what}; }

error corrupt_tensor(const std::string& name, const std::string& what) {
  return corrupt("tensor '" + name + "': " + what);
}

std::optional<std::uint64_t> whole(const json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<std::uint64_t>();
}

std::uint64_t element_bytes(float_type type) { return type == float_type::f32 ? 4 : 2; }

std::optional<float_type> float_type_of(const std::string& name) {
  if (name == "F32") return float_type::f32;
  if (name == "F16") return float_type::f16;
  if (name == "BF16") return float_type::bf16;
  return std::nullopt;
}

/// The parser keeps the last of two equal keys in silence; a header that names a tensor twice is
/// refused instead.
struct header_parse {
  json header;
  std::string failure;
};

header_parse parse_header(std::string_view text) {
  if (!nests_within(text, header_depth_max)) return {{}, "the header is nested too deep"};
  std::vector<std::set<std::string>> keys;
  header_parse out;
  const auto watch = [&](int, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end && !keys.empty()) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.empty() &&
        !keys.back().insert(parsed.get<std::string>()).second)
      out.failure = "'" + parsed.get<std::string>() + "' stands twice in the header";
    return out.failure.empty();
  };
  out.header = json::parse(text, watch, /*allow_exceptions=*/false);
  if (out.failure.empty() && out.header.is_discarded()) out.failure = "the header is not JSON";
  if (out.failure.empty() && !out.header.is_object())
    out.failure = "the header is not a JSON object";
  return out;
}

struct placed {
  std::uint64_t begin = 0, end = 0;
  std::string name;
};

class parser {
 public:
  parser(std::span<const std::uint8_t> data, const safetensors_limits& limits)
      : data_(data), limits_(limits) {}

  result<stored_tensors> read(const json& header) {
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") continue;
      if (tensors_.size() == limits_.tensors_max)
        return corrupt("more than " + std::to_string(limits_.tensors_max) + " tensors");
      if (auto ok = read_tensor(name, entry); !ok) return ok.failure();
    }
    if (auto ok = check_places(); !ok) return ok.failure();
    return std::move(tensors_);
  }

 private:
  result<void> read_tensor(const std::string& name, const json& entry) {
    if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
        !entry.contains("data_offsets") || !entry["dtype"].is_string())
      return corrupt_tensor(name, "needs dtype, shape and data_offsets");
    const auto type = float_type_of(entry["dtype"].get<std::string>());
    if (!type)
      return error{errc::bad_request, "safetensors: tensor '" + name + "' has type " +
                                          entry["dtype"].get<std::string>() +
                                          ", must be F32, F16 or BF16"};
    stored_tensor tensor{.type = *type, .shape = {}, .bytes = {}};
    if (auto ok = read_shape(name, entry["shape"], tensor); !ok) return ok.failure();
    if (auto ok = read_place(name, entry["data_offsets"], tensor); !ok) return ok.failure();
    tensors_.emplace(name, std::move(tensor));
    return {};
  }

  // The product is checked step by step: it must stay below the bytes that are there, so it cannot
  // overflow.
  result<void> read_shape(const std::string& name, const json& shape, stored_tensor& tensor) {
    if (!shape.is_array() || shape.size() > limits_.dimensions_max)
      return corrupt_tensor(name, "shape must be a list of at most " +
                                      std::to_string(limits_.dimensions_max) + " numbers");
    std::uint64_t count = 1;
    for (const json& extent : shape) {
      const auto n = whole(extent);
      if (!n) return corrupt_tensor(name, "a shape holds whole numbers from 0");
      if (*n != 0 && count > data_.size() / *n)
        return corrupt_tensor(name, "its shape is larger than the file");
      count *= *n;
      tensor.shape.push_back(*n);
    }
    return {};
  }

  result<void> read_place(const std::string& name, const json& offsets, stored_tensor& tensor) {
    const bool pair = offsets.is_array() && offsets.size() == 2;
    const auto begin = pair ? whole(offsets[0]) : std::nullopt;
    const auto end = pair ? whole(offsets[1]) : std::nullopt;
    if (!begin || !end || *begin > *end || *end > data_.size())
      return corrupt_tensor(name, "data_offsets must be [begin, end] within the " +
                                      std::to_string(data_.size()) + " bytes of data");
    const std::uint64_t expected = tensor.count() * element_bytes(tensor.type);
    if (*end - *begin != expected)
      return corrupt_tensor(name, "shape " + spell_shape(tensor.shape) + " takes " +
                                      std::to_string(expected) + " bytes, data_offsets give " +
                                      std::to_string(*end - *begin));
    tensor.bytes = data_.subspan(*begin, expected);
    places_.push_back({*begin, *end, name});
    return {};
  }

  // The format forbids overlaps, gaps and bytes that no tensor owns.
  result<void> check_places() {
    std::ranges::sort(places_, [](const placed& a, const placed& b) {
      return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
    });
    std::uint64_t reached = 0;
    for (const placed& p : places_) {
      if (p.begin < reached) return corrupt_tensor(p.name, "overlaps the tensor before it");
      if (p.begin > reached) return corrupt_tensor(p.name, "leaves a gap before it");
      reached = p.end;
    }
    if (reached != data_.size())
      return corrupt(std::to_string(data_.size() - reached) +
                     " bytes after the last tensor belong to none");
    return {};
  }

  std::span<const std::uint8_t> data_;
  const safetensors_limits& limits_;
  stored_tensors tensors_;
  std::vector<placed> places_;
};

float from_half(std::uint16_t bits) {
  const std::uint32_t sign = std::uint32_t{bits} >> 15 << 31;
  const std::uint32_t exponent = bits >> 10 & 31;
  const std::uint32_t mantissa = bits & 1023;
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24, exact in f32
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t wide = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
}

float from_brain(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

}  // namespace

std::uint64_t stored_tensor::count() const {
  std::uint64_t product = 1;
  for (const std::uint64_t extent : shape) product *= extent;
  return product;
}

std::string spell_shape(std::span<const std::uint64_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i)
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

result<stored_tensors> parse_safetensors(std::span<const std::uint8_t> file,
                                         const safetensors_limits& limits) {
  if (file.size() < length_bytes)
    return corrupt("the file is shorter than its 8-byte header length");
  std::uint64_t header_bytes;
  std::memcpy(&header_bytes, file.data(), length_bytes);
  if (header_bytes > limits.header_bytes_max)
    return corrupt("a header of " + std::to_string(header_bytes) + " bytes, " +
                   std::to_string(limits.header_bytes_max) + " allowed");
  if (header_bytes > file.size() - length_bytes)
    return corrupt("the header claims " + std::to_string(header_bytes) + " bytes, the file has " +
                   std::to_string(file.size() - length_bytes) + " after the length");
  const auto* text = reinterpret_cast<const char*>(file.data()) + length_bytes;
  const header_parse parsed = parse_header({text, header_bytes});
  if (!parsed.failure.empty()) return corrupt(parsed.failure);
  return parser(file.subspan(length_bytes + header_bytes), limits).read(parsed.header);
}

std::vector<float> to_floats(const stored_tensor& tensor) {
  std::vector<float> out(tensor.count());
  if (tensor.type == float_type::f32) {
    if (!out.empty()) std::memcpy(out.data(), tensor.bytes.data(), tensor.bytes.size());
    return out;
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, tensor.bytes.data() + 2 * i, sizeof bits);
    out[i] = tensor.type == float_type::f16 ? from_half(bits) : from_brain(bits);
  }
  return out;
}

std::vector<std::uint8_t> write_safetensors(std::vector<outgoing_tensor> tensors) {
  std::ranges::sort(tensors, {}, &outgoing_tensor::name);
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};
  std::uint64_t reached = 0;
  for (const outgoing_tensor& t : tensors) {
    const std::uint64_t end = reached + t.values.size_bytes();
    header[t.name] = {{"dtype", "F32"}, {"shape", t.shape}, {"data_offsets", {reached, end}}};
    reached = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8,
              ' ');  // data then starts aligned, as the reference writer does
  const std::uint64_t header_bytes = text.size();
  std::vector<std::uint8_t> file(length_bytes + header_bytes + reached);
  std::memcpy(file.data(), &header_bytes, length_bytes);
  std::memcpy(file.data() + length_bytes, text.data(), header_bytes);
  std::uint8_t* at = file.data() + length_bytes + header_bytes;
  for (const outgoing_tensor& t : tensors) {
    if (!t.values.empty()) std::memcpy(at, t.values.data(), t.values.size_bytes());
    at += t.values.size_bytes();
  }
  return file;
}

}  // namespace collm::engine
