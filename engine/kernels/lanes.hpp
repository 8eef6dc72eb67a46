// Sixteen float lanes with the same rounding on every instruction set: each operation is IEEE-exact
// per lane and sum() adds in one fixed tree. Included once by each kernels_<path>.cpp; everything
// lives in an anonymous namespace, since the translation units are compiled for different
// instruction sets and must not share instantiations.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "engine/kernels/kernels.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace collm::engine {
namespace {

constexpr std::uint32_t lane_count = 16;

#if defined(__AVX512F__)

struct lanes {
  __m512 v;
  static lanes all(float x) { return {_mm512_set1_ps(x)}; }
  static lanes load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static lanes load(const float* p, std::uint32_t n) {
    return {_mm512_maskz_loadu_ps(first(n), p)};
  }
  static lanes load(const half* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void store(float* p, std::uint32_t n) const { _mm512_mask_storeu_ps(p, first(n), v); }
  static __mmask16 first(std::uint32_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
};
inline lanes operator+(lanes a, lanes b) { return {_mm512_add_ps(a.v, b.v)}; }
inline lanes operator-(lanes a, lanes b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline lanes operator*(lanes a, lanes b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline lanes operator/(lanes a, lanes b) { return {_mm512_div_ps(a.v, b.v)}; }
inline lanes fma(lanes a, lanes b, lanes c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline lanes max(lanes a, lanes b) { return {_mm512_max_ps(a.v, b.v)}; }
inline lanes min(lanes a, lanes b) { return {_mm512_min_ps(a.v, b.v)}; }
inline lanes magnitude(lanes a) { return {_mm512_abs_ps(a.v)}; }
inline lanes square_root(lanes a) { return {_mm512_sqrt_ps(a.v)}; }
/// Nearest integer, ties to even.
inline lanes nearest(lanes a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT)}; }
/// a < b ? x : 0
inline lanes keep_less(lanes a, lanes b, lanes x) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), x.v)};
}
/// 2^n for whole n in [-126, 127].
inline lanes power_of_two(lanes n) {
  const __m512i e = _mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(e, 23))};
}
inline void store_halves(lanes a, half* p) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/// Whole values in [-128, 127], biased by +128, as bytes.
inline void store_biased(lanes a, std::uint8_t* p) {
  const __m512i i = _mm512_add_epi32(_mm512_cvtps_epi32(a.v), _mm512_set1_epi32(128));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(i));
}
inline float sum(lanes a) {
  const __m256 high = _mm512_extractf32x8_ps(a.v, 1);
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

#elif defined(__AVX2__)

struct lanes {
  __m256 a, b;
  static lanes all(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static lanes load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static lanes load(const float* p, std::uint32_t n) {
    float full[lane_count] = {};
    std::memcpy(full, p, n * sizeof(float));
    return load(full);
  }
  static lanes load(const half* p) {
    const auto* eight = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(eight)), _mm256_cvtph_ps(_mm_loadu_si128(eight + 1))};
  }
  void store(float* p) const { _mm256_storeu_ps(p, a), _mm256_storeu_ps(p + 8, b); }
  void store(float* p, std::uint32_t n) const {
    float full[lane_count];
    store(full);
    std::memcpy(p, full, n * sizeof(float));
  }
};
inline lanes operator+(lanes x, lanes y) {
  return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
inline lanes operator-(lanes x, lanes y) {
  return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
inline lanes operator*(lanes x, lanes y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
inline lanes operator/(lanes x, lanes y) {
  return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
inline lanes fma(lanes x, lanes y, lanes z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
inline lanes max(lanes x, lanes y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
inline lanes min(lanes x, lanes y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
inline lanes magnitude(lanes x) {
  const __m256 bits = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  return {_mm256_and_ps(x.a, bits), _mm256_and_ps(x.b, bits)};
}
inline lanes square_root(lanes x) { return {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }
inline lanes nearest(lanes x) {
  constexpr int mode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(x.a, mode), _mm256_round_ps(x.b, mode)};
}
inline lanes keep_less(lanes a, lanes b, lanes x) {
  return {_mm256_and_ps(_mm256_cmp_ps(a.a, b.a, _CMP_LT_OQ), x.a),
          _mm256_and_ps(_mm256_cmp_ps(a.b, b.b, _CMP_LT_OQ), x.b)};
}
inline __m256 power_of_two(__m256 n) {
  const __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}
inline lanes power_of_two(lanes n) { return {power_of_two(n.a), power_of_two(n.b)}; }
inline void store_halves(lanes x, half* p) {
  constexpr int mode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  auto* eight = reinterpret_cast<__m128i*>(p);
  _mm_storeu_si128(eight, _mm256_cvtps_ph(x.a, mode));
  _mm_storeu_si128(eight + 1, _mm256_cvtps_ph(x.b, mode));
}
inline void store_biased(lanes x, std::uint8_t* p) {
  const __m256i bias = _mm256_set1_epi32(128), byte = _mm256_set1_epi32(255);
  const auto low_byte = [&](__m256 of) {
    return _mm256_and_si256(_mm256_add_epi32(_mm256_cvtps_epi32(of), bias), byte);
  };
  const __m256i words =
      _mm256_permute4x64_epi64(_mm256_packus_epi32(low_byte(x.a), low_byte(x.b)), 0b11'01'10'00);
  _mm_storeu_si128(
      reinterpret_cast<__m128i*>(p),
      _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
inline float sum(lanes x) {
  const __m256 eight = _mm256_add_ps(x.a, x.b);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

#else

struct lanes {
  float v[lane_count];
  static lanes all(float x) {
    lanes r;
    for (float& e : r.v) e = x;
    return r;
  }
  static lanes load(const float* p) { return load(p, lane_count); }
  static lanes load(const float* p, std::uint32_t n) {
    lanes r = all(0);
    for (std::uint32_t i = 0; i < n; ++i) r.v[i] = p[i];
    return r;
  }
  static lanes load(const half* p) {
    lanes r;
    for (std::uint32_t i = 0; i < lane_count; ++i) {
      _Float16 narrow;
      std::memcpy(&narrow, p + i, sizeof narrow);
      r.v[i] = static_cast<float>(narrow);
    }
    return r;
  }
  void store(float* p) const { store(p, lane_count); }
  void store(float* p, std::uint32_t n) const {
    for (std::uint32_t i = 0; i < n; ++i) p[i] = v[i];
  }
};
template <class F>
lanes each(F&& f) {
  lanes r;
  for (std::uint32_t i = 0; i < lane_count; ++i) r.v[i] = f(i);
  return r;
}
inline lanes operator+(lanes a, lanes b) {
  return each([&](auto i) { return a.v[i] + b.v[i]; });
}
inline lanes operator-(lanes a, lanes b) {
  return each([&](auto i) { return a.v[i] - b.v[i]; });
}
inline lanes operator*(lanes a, lanes b) {
  return each([&](auto i) { return a.v[i] * b.v[i]; });
}
inline lanes operator/(lanes a, lanes b) {
  return each([&](auto i) { return a.v[i] / b.v[i]; });
}
inline lanes fma(lanes a, lanes b, lanes c) {
  return each([&](auto i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
}
// As the instructions do it: the second operand when the comparison fails, NaN included.
inline lanes max(lanes a, lanes b) {
  return each([&](auto i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline lanes min(lanes a, lanes b) {
  return each([&](auto i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
inline lanes magnitude(lanes a) {
  return each([&](auto i) { return std::fabs(a.v[i]); });
}
inline lanes square_root(lanes a) {
  return each([&](auto i) { return std::sqrt(a.v[i]); });
}
inline lanes nearest(lanes a) {
  return each([&](auto i) { return std::nearbyint(a.v[i]); });
}
inline lanes keep_less(lanes a, lanes b, lanes x) {
  return each([&](auto i) { return a.v[i] < b.v[i] ? x.v[i] : 0.0f; });
}
inline lanes power_of_two(lanes n) {
  return each([&](auto i) {
    const auto bits = static_cast<std::uint32_t>(static_cast<std::int32_t>(n.v[i]) + 127) << 23;
    float f;
    std::memcpy(&f, &bits, sizeof f);
    return f;
  });
}
inline void store_halves(lanes a, half* p) {
  for (std::uint32_t i = 0; i < lane_count; ++i) {
    const auto narrow = static_cast<_Float16>(a.v[i]);
    std::memcpy(p + i, &narrow, sizeof narrow);
  }
}
inline void store_biased(lanes a, std::uint8_t* p) {
  for (std::uint32_t i = 0; i < lane_count; ++i)
    p[i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(a.v[i]) + 128);
}
inline float sum(lanes a) {
  for (std::uint32_t half = 8; half > 0; half /= 2)
    for (std::uint32_t i = 0; i < half; ++i) a.v[i] += a.v[i + half];
  return a.v[0];
}

#endif

/// Calls f(offset, count) for whole lanes, then once for the rest.
template <class F>
inline void over_lanes(std::uint32_t n, F&& f) {
  std::uint32_t i = 0;
  for (; i + lane_count <= n; i += lane_count) f(i, lane_count);
  if (i < n) f(i, n - i);
}

inline lanes load_some(const float* p, std::uint32_t n) {
  return n == lane_count ? lanes::load(p) : lanes::load(p, n);
}
inline lanes load_some(const half* p, std::uint32_t n) {
  if (n == lane_count) return lanes::load(p);
  half some[lane_count] = {};
  std::memcpy(some, p, n * sizeof(half));
  return lanes::load(some);
}
inline void store_some(lanes v, float* p, std::uint32_t n) {
  if (n == lane_count)
    v.store(p);
  else
    v.store(p, n);
}

inline float largest(lanes a) {
  alignas(64) float all[lane_count];
  a.store(all);
  for (std::uint32_t half = lane_count / 2; half > 0; half /= 2)
    for (std::uint32_t i = 0; i < half; ++i)
      all[i] = all[i + half] > all[i] ? all[i + half] : all[i];
  return all[0];
}

/// exp by range reduction x = n ln2 + r and Cephes' polynomial of degree 5 on r (relative error
/// under 2e-7); 0 below -87.
inline lanes exponential(lanes x) {
  const lanes least = lanes::all(-87.0f);
  const lanes bounded = min(max(x, least), lanes::all(88.0f));
  const lanes n = nearest(bounded * lanes::all(1.44269504088896341f));
  lanes r = fma(n, lanes::all(-0.693359375f), bounded);
  r = fma(n, lanes::all(2.12194440e-4f), r);
  lanes p = lanes::all(1.9875691500e-4f);
  p = fma(p, r, lanes::all(1.3981999507e-3f));
  p = fma(p, r, lanes::all(8.3334519073e-3f));
  p = fma(p, r, lanes::all(4.1665795894e-2f));
  p = fma(p, r, lanes::all(1.6666665459e-1f));
  p = fma(p, r, lanes::all(5.0000001201e-1f));
  p = fma(p, r * r, r + lanes::all(1.0f));
  return keep_less(least, x, p * power_of_two(n));
}

}  // namespace
}  // namespace collm::engine
