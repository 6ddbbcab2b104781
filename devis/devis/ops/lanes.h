// Vectors of numbers in the way that compilers know without the names of an instruction set.

#pragma once

#include <ATen/ATen.h>

#include <bit>
#include <cstdint>
#include <cstring>

namespace devis {

// As many numbers as fit 64 bytes; processors with shorter vectors take them in parts.
typedef float Floats __attribute__((vector_size(64)));
typedef double Doubles __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32)));

template <typename T>
struct LanesOf;
template <>
struct LanesOf<float> {
  using Type = Floats;
};
template <>
struct LanesOf<double> {
  using Type = Doubles;
};
template <typename T>
using Lanes = typename LanesOf<T>::Type;
template <typename T>
constexpr int64_t LANES = 64 / sizeof(T);

template <typename T>
[[gnu::always_inline]] inline Lanes<T> load(const T* from) {
  Lanes<T> lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

[[gnu::always_inline]] inline Floats load(const at::BFloat16* from) {
  Halves halves;
  std::memcpy(&halves, from, sizeof halves);
  const Words words = __builtin_convertvector(halves, Words) << 16;
  return std::bit_cast<Floats>(words);
}

template <typename T>
[[gnu::always_inline]] inline void store(T* to, Lanes<T> lanes) {
  std::memcpy(to, &lanes, sizeof lanes);
}

[[gnu::always_inline]] inline float sum_of(Floats lanes) {
  typedef float Eight __attribute__((vector_size(32)));
  typedef float Four __attribute__((vector_size(16)));
  Eight eight[2];
  Four four[2];
  std::memcpy(eight, &lanes, sizeof lanes);
  eight[0] += eight[1];
  std::memcpy(four, eight, sizeof four);
  four[0] += four[1];
  return (four[0][0] + four[0][2]) + (four[0][1] + four[0][3]);
}

[[gnu::always_inline]] inline double sum_of(Doubles lanes) {
  typedef double Four __attribute__((vector_size(32)));
  Four four[2];
  std::memcpy(four, &lanes, sizeof lanes);
  four[0] += four[1];
  return (four[0][0] + four[0][2]) + (four[0][1] + four[0][3]);
}

}  // namespace devis
