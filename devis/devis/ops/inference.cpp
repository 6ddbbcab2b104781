// Deformable attention and deformable convolution on the CPU as inference runs them: no gradients.
//
// Both take what their projections give (offsets and logits) and turn it into places and factors of
// samples for one query or pixel at a time, so that none of that is ever stored for all of them.
// Places and factors are computed for many samples at once; samples are read channels together.

#include "lanes.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

using at::Tensor;
using devis::Lanes;
using devis::LANES;
using devis::load;
using devis::store;

// exp(x) for x <= 88; 0 below -87. Within 2e-7 of the value, and loops over it become vectors.
[[gnu::always_inline]] inline float exponential(float x) {
  const float clamped = std::max(x, -87.0f);
  const float shifted = clamped * 1.44269504f + 12582912.0f;  // rounds to a whole number
  const float n = shifted - 12582912.0f;
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t power = (static_cast<int32_t>(n) + 127) << 23;
  const float value = p * std::bit_cast<float>(power);
  return x < -87.0f ? 0.0f : value;
}

inline double exponential(double x) { return std::exp(x); }

// The pixels around one coordinate and their shares: both 0 where the coordinate is outside.
template <typename T>
struct Axis {
  int32_t low, high;
  T low_share, high_share;
};

template <typename T>
[[gnu::always_inline]] inline Axis<T> axis_of(T at, T size, int32_t last) {
  at = at > T(-2) ? at : T(-2);  // also when it is not a number
  at = at < size + 1 ? at : size + 1;
  const T floor = std::floor(at), part = at - floor;
  const int32_t low = static_cast<int32_t>(floor);
  Axis<T> axis;
  axis.low = std::min(std::max(low, 0), last);
  axis.high = std::min(std::max(low + 1, 0), last);
  axis.low_share = (floor >= 0 && floor < size) ? 1 - part : T(0);
  axis.high_share = (floor >= -1 && floor < size - 1) ? part : T(0);
  return axis;
}

// --- attention ---------------------------------------------------------------------------------

// What is the same for all queries of an item, by sample: of its level width and height, and the
// first row of the level.
template <typename T>
struct Levels {
  std::vector<T> width, height;
  std::vector<int32_t> last_x, last_y, columns, first;

  explicit Levels(int64_t samples)
      : width(samples), height(samples), last_x(samples), last_y(samples), columns(samples),
        first(samples) {}

  void set(at::IntArrayRef shapes, at::IntArrayRef points, const int64_t* start) {
    int64_t s = 0;
    for (size_t g = 0; g < points.size(); ++g)
      for (int64_t p = 0; p < points[g]; ++p, ++s) {
        height[s] = static_cast<T>(shapes[2 * g]), width[s] = static_cast<T>(shapes[2 * g + 1]);
        last_y[s] = static_cast<int32_t>(shapes[2 * g] - 1);
        columns[s] = static_cast<int32_t>(shapes[2 * g + 1]);
        last_x[s] = columns[s] - 1;
        first[s] = static_cast<int32_t>(start[g]);
      }
  }
};

// By sample: where its query's reference lies in its level, and what one unit of offset moves.
template <typename T>
struct Bases {
  std::vector<T> x, y, step_x, step_y;

  explicit Bases(int64_t samples) : x(samples), y(samples), step_x(samples), step_y(samples) {}

  void set(const T* reference, int64_t size, at::IntArrayRef points, const Levels<T>& levels) {
    int64_t s = 0;
    for (size_t g = 0; g < points.size(); ++g, reference += size)
      for (int64_t p = 0; p < points[g]; ++p, ++s) {
        x[s] = reference[0] * levels.width[s] - T(0.5);
        y[s] = reference[1] * levels.height[s] - T(0.5);
        const T share = T(0.5) / static_cast<T>(points[g]);
        step_x[s] = size == 4 ? reference[2] * levels.width[s] * share : T(1);
        step_y[s] = size == 4 ? reference[3] * levels.height[s] * share : T(1);
      }
  }
};

// The four rows that every sample reads (times the channels), and their factors.
template <typename T>
struct Corners {
  std::vector<int32_t> at[4];
  std::vector<T> factor[4];
  std::vector<T> weight;

  explicit Corners(int64_t samples) : weight(samples) {
    for (int k = 0; k < 4; ++k) at[k].resize(samples), factor[k].resize(samples);
  }

  // raw: offsets along x, offsets along y, logits; one of each per sample.
  void set(const T* raw, int64_t samples, int32_t channels, const Levels<T>& levels,
           const Bases<T>& bases) {
    const T *x = raw, *y = raw + samples, *logits = raw + 2 * samples;
    T most = logits[0], total = 0;
#pragma omp simd reduction(max : most)
    for (int64_t s = 0; s < samples; ++s) most = std::max(most, logits[s]);
    T* w = weight.data();
#pragma omp simd reduction(+ : total)
    for (int64_t s = 0; s < samples; ++s) total += w[s] = exponential(logits[s] - most);
    const T scale = 1 / total;
    const T *base_x = bases.x.data(), *base_y = bases.y.data();
    const T *step_x = bases.step_x.data(), *step_y = bases.step_y.data();
    const T *width = levels.width.data(), *height = levels.height.data();
    const int32_t *last_x = levels.last_x.data(), *last_y = levels.last_y.data();
    const int32_t *columns = levels.columns.data(), *first = levels.first.data();
    int32_t *at0 = at[0].data(), *at1 = at[1].data(), *at2 = at[2].data(), *at3 = at[3].data();
    T *f0 = factor[0].data(), *f1 = factor[1].data(), *f2 = factor[2].data();
    T* f3 = factor[3].data();
#pragma omp simd
    for (int64_t s = 0; s < samples; ++s) {
      const Axis<T> h = axis_of(base_x[s] + step_x[s] * x[s], width[s], last_x[s]);
      const Axis<T> v = axis_of(base_y[s] + step_y[s] * y[s], height[s], last_y[s]);
      const int32_t above = first[s] + v.low * columns[s], below = first[s] + v.high * columns[s];
      at0[s] = (above + h.low) * channels, at1[s] = (above + h.high) * channels;
      at2[s] = (below + h.low) * channels, at3[s] = (below + h.high) * channels;
      const T top = v.low_share * w[s] * scale, bottom = v.high_share * w[s] * scale;
      f0[s] = top * h.low_share, f1[s] = top * h.high_share;
      f2[s] = bottom * h.low_share, f3[s] = bottom * h.high_share;
    }
  }
};

// The weighted sum of D channels of all samples, in lanes. V is the type of the values.
template <typename T, typename V, int D>
inline void sum_up(const V* value, const Corners<T>& c, int64_t samples, T* out) {
  constexpr int64_t parts = D / LANES<T>;
  Lanes<T> sums[parts] = {};
  for (int64_t s = 0; s < samples; ++s) {
    const T b0 = c.factor[0][s], b1 = c.factor[1][s], b2 = c.factor[2][s], b3 = c.factor[3][s];
    const V *v0 = value + c.at[0][s], *v1 = value + c.at[1][s];
    const V *v2 = value + c.at[2][s], *v3 = value + c.at[3][s];
    for (int64_t i = 0; i < parts; ++i) {
      const int64_t d = i * LANES<T>;
      sums[i] += (b0 * load(v0 + d) + b1 * load(v1 + d)) + (b2 * load(v2 + d) + b3 * load(v3 + d));
    }
  }
  for (int64_t i = 0; i < parts; ++i) store<T>(out + i * LANES<T>, sums[i]);
}

// The same for any number of channels.
template <typename T, typename V>
inline void sum_up_any(const V* value, const Corners<T>& c, int64_t samples, int64_t D, T* out) {
  std::fill(out, out + D, T(0));
  for (int64_t s = 0; s < samples; ++s)
    for (int k = 0; k < 4; ++k)
      for (int64_t d = 0; d < D; ++d)
        out[d] += c.factor[k][s] * static_cast<T>(value[c.at[k][s] + d]);
}

struct Sizes {
  int64_t heads, rows, channels, items, queries, samples, reference;
};

// Queries of a block share what is read of one head before the next head's turn comes.
constexpr int64_t BLOCK = 8;

template <typename T, typename V, int D>
void run_attend(const Tensor& value, at::IntArrayRef shapes, at::IntArrayRef points,
                const Tensor& start, const Tensor& reference, const Tensor& raw, Tensor& out,
                const Sizes& s) {
  const V* values = value.const_data_ptr<V>();
  const T *references = reference.const_data_ptr<T>(), *raws = raw.const_data_ptr<T>();
  const int64_t* starts = start.const_data_ptr<int64_t>();
  T* result = out.mutable_data_ptr<T>();
  const int64_t levels_count = points.size(), blocks = (s.queries + BLOCK - 1) / BLOCK;
  at::parallel_for(0, s.items * blocks, 1, [&](int64_t begin, int64_t end) {
    Levels<T> levels(s.samples);
    Corners<T> corners(s.samples);
    std::vector<Bases<T>> bases(BLOCK, Bases<T>(s.samples));
    int64_t known = -1;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t n = task / blocks, low = task % blocks * BLOCK;
      const int64_t high = std::min(low + BLOCK, s.queries);
      if (n != known) levels.set(shapes, points, starts + n * levels_count), known = n;
      for (int64_t q = low; q < high; ++q)
        bases[q - low].set(references + (n * s.queries + q) * levels_count * s.reference,
                           s.reference, points, levels);
      for (int64_t m = 0; m < s.heads; ++m)
        for (int64_t q = low; q < high; ++q) {
          const int64_t at = (n * s.queries + q) * s.heads + m;
          corners.set(raws + at * 3 * s.samples, s.samples, static_cast<int32_t>(s.channels),
                      levels, bases[q - low]);
          const V* head = values + m * s.rows * s.channels;
          if constexpr (D > 0)
            sum_up<T, V, D>(head, corners, s.samples, result + at * s.channels);
          else
            sum_up_any<T, V>(head, corners, s.samples, s.channels, result + at * s.channels);
        }
    }
  });
}

Sizes attend_sizes(const Tensor& value, at::IntArrayRef shapes, at::IntArrayRef points,
                   const Tensor& start, const Tensor& reference, const Tensor& raw) {
  TORCH_CHECK(value.dim() == 3 && raw.dim() == 5 && reference.dim() == 4 && start.dim() == 2,
              "value must have 3, start 2, reference 4 and raw 5 axes");
  const int64_t levels = points.size();
  int64_t samples = 0;
  for (const int64_t count : points) samples += count;
  const Sizes s{value.size(0), value.size(1), value.size(2),     raw.size(0),
                raw.size(1),   samples,       reference.size(3)};
  TORCH_CHECK(samples > 0 && static_cast<int64_t>(shapes.size()) == 2 * levels,
              "shapes do not fit points");
  TORCH_CHECK(raw.size(2) == s.heads && raw.size(3) == 3 && raw.size(4) == samples,
              "raw does not have the heads of value, or not the samples");
  TORCH_CHECK(reference.size(0) == s.items && reference.size(1) == s.queries &&
                  reference.size(2) == levels && (s.reference == 2 || s.reference == 4),
              "reference does not fit raw");
  TORCH_CHECK(start.size(0) == s.items && start.size(1) == levels &&
                  start.scalar_type() == at::kLong,
              "start must be (N, G) 64-bit integers");
  TORCH_CHECK(s.rows * s.channels < (int64_t{1} << 31), "value is too large");
  const int64_t* first = start.const_data_ptr<int64_t>();
  for (int64_t n = 0; n < s.items; ++n)
    for (int64_t g = 0; g < levels; ++g, ++first)
      TORCH_CHECK(*first >= 0 && *first + shapes[2 * g] * shapes[2 * g + 1] <= s.rows,
                  "level ", g, " lies outside of value");
  return s;
}

template <typename T, typename V>
void attend_in(const Tensor& value, at::IntArrayRef shapes, at::IntArrayRef points,
               const Tensor& start, const Tensor& reference, const Tensor& raw, Tensor& out,
               const Sizes& s) {
  if (s.channels == 32)
    run_attend<T, V, 32>(value, shapes, points, start, reference, raw, out, s);
  else
    run_attend<T, V, 0>(value, shapes, points, start, reference, raw, out, s);
}

// value (M, R, D) of all heads; shapes and points of the G levels; start (N, G) their first rows;
// reference (N, Q, G, 2 or 4); raw (N, Q, M, 3, S); to (N, Q, M, D) in the type of raw.
Tensor attend(const Tensor& value, at::IntArrayRef shapes, at::IntArrayRef points,
              const Tensor& start, const Tensor& reference, const Tensor& raw) {
  const Tensor first = start.contiguous(), values = value.contiguous();
  const Tensor projected = raw.contiguous();
  const Tensor references = reference.to(raw.scalar_type()).contiguous();
  const Sizes s = attend_sizes(values, shapes, points, first, references, projected);
  Tensor out = at::empty({s.items, s.queries, s.heads, s.channels}, raw.options());
  if (raw.scalar_type() == at::kDouble && value.scalar_type() == at::kDouble)
    attend_in<double, double>(values, shapes, points, first, references, projected, out, s);
  else if (raw.scalar_type() == at::kFloat && value.scalar_type() == at::kFloat)
    attend_in<float, float>(values, shapes, points, first, references, projected, out, s);
  else if (raw.scalar_type() == at::kFloat && value.scalar_type() == at::kBFloat16)
    attend_in<float, at::BFloat16>(values, shapes, points, first, references, projected, out, s);
  else
    TORCH_CHECK(false, "value and raw must both be float or double, or value bfloat16");
  return out;
}

// --- convolution -------------------------------------------------------------------------------

constexpr int TAPS = 9;

template <typename T>
void run_columns(const Tensor& x, const Tensor& raw, int64_t first, Tensor& out) {
  const int64_t height = x.size(1), width = x.size(2), channels = x.size(3);
  const T *pixels = x.const_data_ptr<T>(), *raws = raw.const_data_ptr<T>();
  T* result = out.mutable_data_ptr<T>();
  at::parallel_for(0, out.size(0), 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t place = first + row, inside = place % (height * width);
      const T* image = pixels + (place - inside) * channels;
      const T *own = raws + place * 3 * TAPS, *logits = own + 2 * TAPS;
      T* to = result + row * TAPS * channels;
      const T origin_y = static_cast<T>(inside / width) - 1;
      const T origin_x = static_cast<T>(inside % width) - 1;
      for (int t = 0; t < TAPS; ++t, to += channels) {
        const Axis<T> v = axis_of(origin_y + static_cast<T>(t / 3) + own[2 * t],
                                  static_cast<T>(height), static_cast<int32_t>(height - 1));
        const Axis<T> h = axis_of(origin_x + static_cast<T>(t % 3) + own[2 * t + 1],
                                  static_cast<T>(width), static_cast<int32_t>(width - 1));
        const T factor = 2 / (1 + exponential(std::min(-logits[t], T(88))));
        const T b0 = factor * v.low_share * h.low_share, b1 = factor * v.low_share * h.high_share;
        const T b2 = factor * v.high_share * h.low_share;
        const T b3 = factor * v.high_share * h.high_share;
        const T *v0 = image + (v.low * width + h.low) * channels;
        const T *v1 = image + (v.low * width + h.high) * channels;
        const T *v2 = image + (v.high * width + h.low) * channels;
        const T *v3 = image + (v.high * width + h.high) * channels;
        int64_t c = 0;
        for (; c + LANES<T> <= channels; c += LANES<T>)
          store<T>(to + c, (b0 * load(v0 + c) + b1 * load(v1 + c)) +
                               (b2 * load(v2 + c) + b3 * load(v3 + c)));
        for (; c < channels; ++c)
          to[c] = (b0 * v0[c] + b1 * v1[c]) + (b2 * v2[c] + b3 * v3[c]);
      }
    }
  });
}

// Samples of a modulated deformable 3x3 convolution, stride 1, padding 1: what a matrix product
// with the weights then turns into its output. x (K, H, W, C); raw (K, H, W, 27): the vertical and
// horizontal offset of every tap, then the logits of their factors 0 to 2; pixels [first, first +
// count) of all images; to (count, 9 * C).
Tensor deform_columns(const Tensor& x, const Tensor& raw, int64_t first, int64_t count) {
  TORCH_CHECK(x.dim() == 4 && raw.dim() == 4 && raw.size(3) == 3 * TAPS &&
                  raw.sizes().slice(0, 3) == x.sizes().slice(0, 3),
              "raw must have 27 values for every pixel of x");
  TORCH_CHECK(raw.scalar_type() == x.scalar_type(), "x and raw must have one type");
  TORCH_CHECK(x.is_contiguous() && raw.is_contiguous(), "x and raw must be dense");
  TORCH_CHECK(first >= 0 && count >= 0 && first + count <= x.size(0) * x.size(1) * x.size(2),
              "there are no such pixels");
  Tensor out = at::empty({count, TAPS * x.size(3)}, x.options());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "deform_columns",
                             [&] { run_columns<scalar_t>(x, raw, first, out); });
  return out;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(devis_native, m) {
  m.def(
      "attend(Tensor value, int[] shapes, int[] points, Tensor start, Tensor reference, "
      "Tensor raw) -> Tensor");
  m.def("deform_columns(Tensor x, Tensor raw, int first, int count) -> Tensor");
}

TORCH_LIBRARY_IMPL(devis_native, CPU, m) {
  m.impl("attend", &attend);
  m.impl("deform_columns", &deform_columns);
}
