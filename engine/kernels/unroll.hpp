// How kernels keep their sums in registers. GCC 12 otherwise stores every sum of a small array in
// every round (measured: 2.5 times the time for products, twice for attention).
#pragma once

/// Before a loop over sums: unrolled whole, its bound being a constant of at most 16.
#define COLLM_UNROLL _Pragma("GCC unroll 16")
/// Before a function that holds such loops: part of its caller's loop.
#define COLLM_TILE [[gnu::always_inline]] inline
