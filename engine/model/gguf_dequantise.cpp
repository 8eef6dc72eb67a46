// Block formats of ggml-org/ggml ggml-common.h: Q4_0 {half d; 16 bytes}, Q4_1 {half d, m; 16
// bytes}, Q8_0 {half d; 32 int8}.
#include <cstring>

#include "engine/model/gguf_parse.hpp"
#include "messages/assert.hpp"

namespace collm::engine {
namespace {

std::uint16_t half_at(const std::uint8_t* p) {
  std::uint16_t h;
  std::memcpy(&h, p, sizeof h);
  return h;
}

/// Nibbles: the low half of a byte is element i, the high half element i + 16.
void block_q4(const std::uint8_t* nibbles, float scale, float shift, float* out) {
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>(nibbles[i] & 15) + shift;
    out[i + 16] = scale * static_cast<float>(nibbles[i] >> 4) + shift;
  }
}

void block(tensor_type type, const std::uint8_t* p, float* out) {
  switch (type) {
    case tensor_type::f32:
      std::memcpy(out, p, 4);
      return;
    case tensor_type::f16:
      *out = half_to_float(half_at(p));
      return;
    case tensor_type::q4_0: {
      const float d = half_to_float(half_at(p));
      block_q4(p + 2, d, -8.0f * d, out);
      return;
    }
    case tensor_type::q4_1:
      block_q4(p + 4, half_to_float(half_at(p)), half_to_float(half_at(p + 2)), out);
      return;
    case tensor_type::q8_0: {
      const float d = half_to_float(half_at(p));
      for (int i = 0; i < 32; ++i)
        out[i] = d * static_cast<float>(static_cast<std::int8_t>(p[2 + i]));
      return;
    }
  }
}

}  // namespace

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

void dequantise(const gguf_tensor& t, std::uint64_t first, std::uint64_t count, float* out) {
  const auto shape = block_of(t.type);
  COLLM_ASSERT(first % shape.elements == 0 && count % shape.elements == 0);
  COLLM_ASSERT((first + count) / shape.elements * shape.bytes <= t.bytes.size());
  const std::uint8_t* p = t.bytes.data() + first / shape.elements * shape.bytes;
  for (std::uint64_t i = 0; i < count; i += shape.elements, p += shape.bytes)
    block(t.type, p, out + i);
}

}  // namespace collm::engine
