// Sums of the product back with AVX2: bytes widened to 16 bits, since vpmaddubsw would saturate.
// Included by training_avx2.cpp.
#pragma once

#include <immintrin.h>

#include "engine/kernels/gemm_back_body.hpp"

namespace collm::engine {
namespace {

void accumulate_back(const std::uint8_t* x, const std::int8_t* weights, std::uint32_t groups,
                     std::uint32_t (&sums)[vector_inputs]) {
  constexpr std::uint32_t quarters = 4;  // four inputs of four outputs, widened
  __m256i partial[quarters];
  for (auto& p : partial) p = _mm256_setzero_si256();
  for (std::uint32_t g = 0; g < groups; ++g, x += panel_bytes, weights += group_bytes) {
    std::int32_t four;
    __builtin_memcpy(&four, x, 4);
    const __m256i left = _mm256_cvtepu8_epi16(_mm_set1_epi32(four));
    const auto* sixteen = reinterpret_cast<const __m128i*>(weights);
    for (std::uint32_t q = 0; q < quarters; ++q)
      partial[q] = _mm256_add_epi32(
          partial[q], _mm256_madd_epi16(left, _mm256_cvtepi8_epi16(_mm_loadu_si128(sixteen + q))));
  }
  alignas(32) std::uint32_t halves[2 * vector_inputs];
  for (std::uint32_t q = 0; q < quarters; ++q)
    _mm256_store_si256(reinterpret_cast<__m256i*>(halves + 8 * q), partial[q]);
  for (std::uint32_t i = 0; i < vector_inputs; ++i) sums[i] = halves[2 * i] + halves[2 * i + 1];
}

}  // namespace
}  // namespace collm::engine
