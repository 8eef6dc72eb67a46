// Block formats of ggml-org/ggml ggml-common.h. A block of 32 has a half scale d, some a half
// minimum m; a block of 256 ("K") has 8 or 16 groups with small integer scales of their own.
#include <cstring>

#include "engine/model/gguf_parse.hpp"
#include "messages/assert.hpp"

namespace collm::engine {
namespace {

using bytes = const std::uint8_t*;

float half_at(bytes p) {
  std::uint16_t h;
  std::memcpy(&h, p, sizeof h);
  return half_to_float(h);
}

float brain_at(bytes p) {
  float value;
  const std::uint8_t wide[] = {0, 0, p[0], p[1]};
  std::memcpy(&value, wide, sizeof value);
  return value;
}

std::uint32_t bits_at(bytes p) {
  std::uint32_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return bits;
}

/// Nibbles: the low half of a byte is element i, the high half element i + 16; bit i of `fifth` is
/// worth 16 for element i.
void block_of_32(bytes nibbles, std::uint32_t fifth, float scale, float shift, float* out) {
  for (std::uint32_t i = 0; i < 16; ++i) {
    const std::uint32_t low = (nibbles[i] & 15u) | (fifth >> i & 1u) << 4,
                        high = (nibbles[i] >> 4) | (fifth >> (i + 16) & 1u) << 4;
    out[i] = scale * static_cast<float>(low) + shift;
    out[i + 16] = scale * static_cast<float>(high) + shift;
  }
}

void block_q8_0(bytes p, float* out) {
  const float d = half_at(p);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(static_cast<std::int8_t>(p[2 + i]));
}

/// Scale and minimum of group j of 8, six bits each, packed in 12 bytes.
struct group {
  float scale, minimum;
};
group group_of(bytes p, std::uint32_t j) {
  const auto of = [](std::uint32_t scale, std::uint32_t minimum) {
    return group{static_cast<float>(scale), static_cast<float>(minimum)};
  };
  if (j < 4) return of(p[j] & 63u, p[j + 4] & 63u);
  return of((p[j + 4] & 15u) | (p[j - 4] >> 6) << 4, (p[j + 4] >> 4) | (p[j] >> 6) << 4);
}

/// {half d, m; 12 bytes of groups}, then nibbles: byte l of 32 holds element l of group 2i in its
/// low half, of group 2i + 1 in its high half. Q5_K: bit g of fifth[l] is worth 16 in group g.
void block_q45_k(bytes p, bytes fifth, bytes nibbles, float* out) {
  const float d = half_at(p), m = half_at(p + 2);
  for (std::uint32_t g = 0; g < 8; ++g) {
    const auto [scale, minimum] = group_of(p + 4, g);
    const float step = d * scale, shift = m * minimum;
    for (std::uint32_t l = 0; l < 32; ++l) {
      const std::uint32_t nibble = nibbles[g / 2 * 32 + l] >> (g % 2 * 4) & 15u,
                          high = fifth == nullptr ? 0 : (fifth[l] >> g & 1u) << 4;
      out[g * 32 + l] = step * static_cast<float>(nibble | high) - shift;
    }
  }
}

/// {128 bytes of low nibbles; 64 bytes of high pairs; 16 int8 scales; half d}. Each half of 128
/// elements: runs of 32, run r in nibble r / 2 of byte (r % 2) * 32 + l and pair r of byte l.
void block_q6_k(bytes p, float* out) {
  const float d = half_at(p + 208);
  for (std::uint32_t half = 0; half < 2; ++half)
    for (std::uint32_t run = 0; run < 4; ++run)
      for (std::uint32_t l = 0; l < 32; ++l) {
        const std::uint32_t low = p[half * 64 + run % 2 * 32 + l] >> (run / 2 * 4) & 15u,
                            high = p[128 + half * 32 + l] >> (run * 2) & 3u;
        const auto scale = static_cast<std::int8_t>(p[192 + half * 8 + run * 2 + l / 16]);
        const auto q = static_cast<std::int32_t>(low | high << 4) - 32;
        out[half * 128 + run * 32 + l] = d * static_cast<float>(scale) * static_cast<float>(q);
      }
}

void block(tensor_type type, bytes p, float* out) {
  switch (type) {
    case tensor_type::f32:
      std::memcpy(out, p, 4);
      return;
    case tensor_type::f16:
      *out = half_at(p);
      return;
    case tensor_type::bf16:
      *out = brain_at(p);
      return;
    case tensor_type::q4_0:
      return block_of_32(p + 2, 0, half_at(p), -8.0f * half_at(p), out);
    case tensor_type::q4_1:
      return block_of_32(p + 4, 0, half_at(p), half_at(p + 2), out);
    case tensor_type::q5_0:
      return block_of_32(p + 6, bits_at(p + 2), half_at(p), -16.0f * half_at(p), out);
    case tensor_type::q5_1:
      return block_of_32(p + 8, bits_at(p + 4), half_at(p), half_at(p + 2), out);
    case tensor_type::q8_0:
      return block_q8_0(p, out);
    case tensor_type::q4_k:
      return block_q45_k(p, nullptr, p + 16, out);
    case tensor_type::q5_k:
      return block_q45_k(p, p + 16, p + 48, out);
    case tensor_type::q6_k:
      return block_q6_k(p, out);
  }
}

/// Scale and shift of the block's groups of 32, as block() uses them.
void scales_of(tensor_type type, bytes p, affine_scale* out) {
  const float d = half_at(p);
  if (type == tensor_type::q4_0) *out = {d, -8.0f * d};
  if (type == tensor_type::q4_1) *out = {d, half_at(p + 2)};
  for (std::uint32_t g = 0; type == tensor_type::q4_k && g < 8; ++g) {
    const auto [scale, minimum] = group_of(p + 4, g);
    out[g] = {d * scale, -half_at(p + 2) * minimum};
  }
}

struct type_facts {
  tensor_type type;
  const char* name;
  block_shape shape;
};
constexpr type_facts types[] = {
    {tensor_type::f32, "F32", {1, 4}},       {tensor_type::f16, "F16", {1, 2}},
    {tensor_type::q4_0, "Q4_0", {32, 18}},   {tensor_type::q4_1, "Q4_1", {32, 20}},
    {tensor_type::q5_0, "Q5_0", {32, 22}},   {tensor_type::q5_1, "Q5_1", {32, 24}},
    {tensor_type::q8_0, "Q8_0", {32, 34}},   {tensor_type::q4_k, "Q4_K", {256, 144}},
    {tensor_type::q5_k, "Q5_K", {256, 176}}, {tensor_type::q6_k, "Q6_K", {256, 210}},
    {tensor_type::bf16, "BF16", {1, 2}},
};

const type_facts* facts_of(std::uint32_t number) {
  for (const auto& facts : types)
    if (static_cast<std::uint32_t>(facts.type) == number) return &facts;
  return nullptr;
}

}  // namespace

bool known_type(std::uint32_t number) { return facts_of(number) != nullptr; }

std::string known_types() {
  std::string list;
  for (const auto& facts : types)
    list += (list.empty() ? "" : ", ") + std::string(facts.name) + " (" +
            std::to_string(static_cast<std::uint32_t>(facts.type)) + ")";
  return list;
}

block_shape block_of(tensor_type type) {
  const auto* facts = facts_of(static_cast<std::uint32_t>(type));
  COLLM_ASSERT(facts != nullptr);
  return facts->shape;
}

float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 31u, mantissa = half & 1023u;
  std::uint32_t bits;
  if (exponent == 0) {  // zero or subnormal: the value is mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  if (exponent == 31)
    bits = sign | 0x7f800000u | (mantissa << 13);
  else
    bits = sign | ((exponent + 112) << 23) | (mantissa << 13);
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

bool has_four_bits(tensor_type type) {
  return type == tensor_type::q4_0 || type == tensor_type::q4_1 || type == tensor_type::q4_k;
}

std::vector<affine_scale> affine_scales(const gguf_tensor& t, std::uint64_t first,
                                        std::uint64_t count) {
  const auto shape = block_of(t.type);
  COLLM_ASSERT(has_four_bits(t.type));
  COLLM_ASSERT(first % shape.elements == 0 && count % shape.elements == 0);
  COLLM_ASSERT((first + count) / shape.elements * shape.bytes <= t.bytes.size());
  std::vector<affine_scale> scales(count / 32);
  bytes p = t.bytes.data() + first / shape.elements * shape.bytes;
  for (std::uint64_t i = 0; i < count; i += shape.elements, p += shape.bytes)
    scales_of(t.type, p, scales.data() + i / 32);
  return scales;
}

void dequantise(const gguf_tensor& t, std::uint64_t first, std::uint64_t count, float* out) {
  const auto shape = block_of(t.type);
  COLLM_ASSERT(first % shape.elements == 0 && count % shape.elements == 0);
  COLLM_ASSERT((first + count) / shape.elements * shape.bytes <= t.bytes.size());
  bytes p = t.bytes.data() + first / shape.elements * shape.bytes;
  for (std::uint64_t i = 0; i < count; i += shape.elements, p += shape.bytes)
    block(t.type, p, out + i);
}

}  // namespace collm::engine
