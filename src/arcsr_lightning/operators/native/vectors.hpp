// The numbers of a library and the vectors of this processor.
#pragma once
#include <cstdint>

#if defined(__AVX512F__)
constexpr int BYTES = 64;  // of a vector
#elif defined(__AVX2__) && defined(__FMA__)
constexpr int BYTES = 32;
#else
#error "without AVX2 and FMA PyTorch is faster"
#endif

using Int = int64_t;
using T = NUMBER;                     // float or double: one library for each
constexpr Int V = BYTES / sizeof(T);  // numbers of a vector
template <int N> struct Lanes {
    typedef T Type __attribute__((vector_size(N * sizeof(T)), aligned(sizeof(T)), may_alias));
};
template <int N = V> using Vec = typename Lanes<N>::Type;
template <int N = V> inline Vec<N>& at(T* place) { return *reinterpret_cast<Vec<N>*>(place); }
template <int N = V> inline Vec<N> at(const T* place) { return *reinterpret_cast<const Vec<N>*>(place); }
