// Multi-scale deformable attention on the CPU: forward and first-order gradients.
//
// Values are read head by head from a copy laid out (M, R, D), so that what one head samples from
// stays in the cache; a weighted sum is accumulated in registers and no sample is ever stored.
// Shapes: value (R, M, D) rows; start (N, L) first row of every level; locations (N, Q, M, L, P, 2)
// as fractions of width and height; weights (N, Q, M, L, P); output (N, Q, M, D).

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <vector>

namespace {

using at::Tensor;

struct Sizes {
  int64_t rows, heads, channels, batch, queries, levels, points;
};

// The four pixels around a location. A pixel outside has weight 0 and points at a pixel inside.
template <typename T>
struct Corners {
  int64_t row[4];  // 00, 01, 10, 11: row major
  T inside[4];     // 1 or 0
  T lx, ly;
};

template <typename T>
inline bool corners_of(T x, T y, int64_t height, int64_t width, int64_t first, Corners<T>& c) {
  const T px = x * static_cast<T>(width) - T(0.5), py = y * static_cast<T>(height) - T(0.5);
  if (!(px > T(-1) && py > T(-1) && px < static_cast<T>(width) && py < static_cast<T>(height)))
    return false;  // also when not a number
  const T fx = std::floor(px), fy = std::floor(py);
  const int64_t x0 = static_cast<int64_t>(fx), y0 = static_cast<int64_t>(fy);
  c.lx = px - fx;
  c.ly = py - fy;
  const T left = x0 >= 0, right = x0 + 1 < width, top = y0 >= 0, bottom = y0 + 1 < height;
  const int64_t xa = std::max<int64_t>(x0, 0), xb = std::min<int64_t>(x0 + 1, width - 1);
  const int64_t ya = first + std::max<int64_t>(y0, 0) * width;
  const int64_t yb = first + std::min<int64_t>(y0 + 1, height - 1) * width;
  c.row[0] = ya + xa, c.row[1] = ya + xb, c.row[2] = yb + xa, c.row[3] = yb + xb;
  c.inside[0] = top * left, c.inside[1] = top * right;
  c.inside[2] = bottom * left, c.inside[3] = bottom * right;
  return true;
}

template <typename T>
inline void bilinear(const Corners<T>& c, T b[4]) {
  b[0] = (1 - c.ly) * (1 - c.lx) * c.inside[0];
  b[1] = (1 - c.ly) * c.lx * c.inside[1];
  b[2] = c.ly * (1 - c.lx) * c.inside[2];
  b[3] = c.ly * c.lx * c.inside[3];
}

// D_ is the number of channels known to the compiler, or 0.
template <typename T, int D_>
void forward_query(const T* value, const int64_t* shapes, const int64_t* start, const T* loc,
                   const T* weight, T* out, const Sizes& s) {
  const int64_t D = D_ ? D_ : s.channels;
  T fixed[D_ ? D_ : 1];
  T* acc = D_ ? fixed : out;
  for (int64_t d = 0; d < D; ++d) acc[d] = 0;
  for (int64_t l = 0; l < s.levels; ++l) {
    for (int64_t p = 0; p < s.points; ++p, loc += 2, ++weight) {
      Corners<T> c;
      if (!corners_of(loc[0], loc[1], shapes[2 * l], shapes[2 * l + 1], start[l], c)) continue;
      T b[4];
      bilinear(c, b);
      const T w = *weight, b0 = b[0] * w, b1 = b[1] * w, b2 = b[2] * w, b3 = b[3] * w;
      const T *v0 = value + c.row[0] * D, *v1 = value + c.row[1] * D;
      const T *v2 = value + c.row[2] * D, *v3 = value + c.row[3] * D;
#pragma omp simd
      for (int64_t d = 0; d < D; ++d)
        acc[d] += b0 * v0[d] + b1 * v1[d] + b2 * v2[d] + b3 * v3[d];
    }
  }
  if (D_)
    for (int64_t d = 0; d < D; ++d) out[d] = acc[d];
}

template <typename T, int D_>
void backward_query(const T* value, const int64_t* shapes, const int64_t* start, const T* loc,
                    const T* weight, const T* grad, T* grad_value, T* grad_loc, T* grad_weight,
                    const Sizes& s) {
  const int64_t D = D_ ? D_ : s.channels;
  for (int64_t l = 0; l < s.levels; ++l) {
    const int64_t height = shapes[2 * l], width = shapes[2 * l + 1];
    for (int64_t p = 0; p < s.points; ++p, loc += 2, grad_loc += 2, ++weight, ++grad_weight) {
      Corners<T> c;
      if (!corners_of(loc[0], loc[1], height, width, start[l], c)) {
        grad_loc[0] = grad_loc[1] = *grad_weight = 0;
        continue;
      }
      T b[4];
      bilinear(c, b);
      T dot[4];
      for (int k = 0; k < 4; ++k) {
        const T* v = value + c.row[k] * D;
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t d = 0; d < D; ++d) sum += grad[d] * v[d];
        dot[k] = sum * c.inside[k];
        // One corner after the other: clamped corners share a row.
        T* g = grad_value + c.row[k] * D;
        const T share = b[k] * *weight;
#pragma omp simd
        for (int64_t d = 0; d < D; ++d) g[d] += share * grad[d];
      }
      *grad_weight = (1 - c.ly) * ((1 - c.lx) * dot[0] + c.lx * dot[1]) +
                     c.ly * ((1 - c.lx) * dot[2] + c.lx * dot[3]);
      grad_loc[0] = *weight * static_cast<T>(width) *
                    ((1 - c.ly) * (dot[1] - dot[0]) + c.ly * (dot[3] - dot[2]));
      grad_loc[1] = *weight * static_cast<T>(height) *
                    ((1 - c.lx) * (dot[2] - dot[0]) + c.lx * (dot[3] - dot[1]));
    }
  }
}

Sizes sizes_of(const Tensor& value, at::IntArrayRef shapes, const Tensor& start,
               const Tensor& locations, const Tensor& weights) {
  TORCH_CHECK(value.dim() == 3 && locations.dim() == 6 && weights.dim() == 5,
              "value must have 3, locations 6 and weights 5 axes");
  const Sizes s{value.size(0),     value.size(1),     value.size(2),    locations.size(0),
                locations.size(1), locations.size(3), locations.size(4)};
  TORCH_CHECK(locations.size(2) == s.heads && locations.size(5) == 2,
              "locations do not have the heads of value, or not two coordinates");
  TORCH_CHECK(weights.sizes() == locations.sizes().slice(0, 5), "weights do not fit locations");
  TORCH_CHECK(static_cast<int64_t>(shapes.size()) == 2 * s.levels, "shapes do not fit locations");
  TORCH_CHECK(start.dim() == 2 && start.size(0) == s.batch && start.size(1) == s.levels &&
                  start.scalar_type() == at::kLong,
              "start must be (N, L) 64-bit integers");
  const int64_t* first = start.const_data_ptr<int64_t>();
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t l = 0; l < s.levels; ++l, ++first)
      TORCH_CHECK(*first >= 0 && *first + shapes[2 * l] * shapes[2 * l + 1] <= s.rows,
                  "level ", l, " lies outside of value");
  return s;
}

// Whether no row of value is read for two batch items, so that their gradients do not meet.
bool rows_are_disjoint(const int64_t* start, at::IntArrayRef shapes, const Sizes& s) {
  std::vector<std::pair<int64_t, int64_t>> spans;
  for (int64_t n = 0; n < s.batch; ++n) {
    int64_t low = s.rows, high = 0;
    for (int64_t l = 0; l < s.levels; ++l) {
      const int64_t first = start[n * s.levels + l];
      low = std::min(low, first);
      high = std::max(high, first + shapes[2 * l] * shapes[2 * l + 1]);
    }
    spans.emplace_back(low, high);
  }
  std::sort(spans.begin(), spans.end());
  for (size_t i = 1; i < spans.size(); ++i)
    if (spans[i].first < spans[i - 1].second) return false;
  return true;
}

template <typename T, int D>
void run_forward(const Tensor& by_head, at::IntArrayRef shapes, const Tensor& start,
                 const Tensor& locations, const Tensor& weights, Tensor& out, const Sizes& s) {
  const T *value = by_head.const_data_ptr<T>(), *loc = locations.const_data_ptr<T>();
  const T* weight = weights.const_data_ptr<T>();
  const int64_t* first = start.const_data_ptr<int64_t>();
  T* result = out.mutable_data_ptr<T>();
  const int64_t samples = s.levels * s.points;
  // Head is the slowest axis: a thread stays with one head's values.
  const int64_t tasks = s.heads * s.batch * s.queries;
  at::parallel_for(0, tasks, 256, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t m = task / (s.batch * s.queries), nq = task % (s.batch * s.queries);
      const int64_t at = nq * s.heads + m;
      forward_query<T, D>(value + m * s.rows * s.channels, shapes.data(),
                          first + nq / s.queries * s.levels, loc + at * samples * 2,
                          weight + at * samples, result + at * s.channels, s);
    }
  });
}

template <typename T, int D>
void run_backward(const Tensor& by_head, at::IntArrayRef shapes, const Tensor& start,
                  const Tensor& locations, const Tensor& weights, const Tensor& grad,
                  Tensor& grad_by_head, Tensor& grad_loc, Tensor& grad_weight, const Sizes& s) {
  const T *value = by_head.const_data_ptr<T>(), *loc = locations.const_data_ptr<T>();
  const T *weight = weights.const_data_ptr<T>(), *g = grad.const_data_ptr<T>();
  const int64_t* first = start.const_data_ptr<int64_t>();
  T *gv = grad_by_head.mutable_data_ptr<T>(), *gl = grad_loc.mutable_data_ptr<T>();
  T* gw = grad_weight.mutable_data_ptr<T>();
  const int64_t samples = s.levels * s.points;
  // Gradients of values meet where rows are shared: then a head belongs to one thread alone.
  const int64_t parts = rows_are_disjoint(first, shapes, s) ? s.batch : 1;
  const int64_t length = s.batch / parts;
  at::parallel_for(0, s.heads * parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t m = task / parts, part = task % parts;
      for (int64_t nq = part * length * s.queries; nq < (part + 1) * length * s.queries; ++nq) {
        const int64_t at = nq * s.heads + m, head = m * s.rows * s.channels;
        backward_query<T, D>(value + head, shapes.data(), first + nq / s.queries * s.levels,
                             loc + at * samples * 2, weight + at * samples, g + at * s.channels,
                             gv + head, gl + at * samples * 2, gw + at * samples, s);
      }
    }
  });
}

#define DEVIS_BY_CHANNELS(RUN, ...)               \
  switch (s.channels) {                           \
    case 32: RUN<scalar_t, 32>(__VA_ARGS__); break; \
    case 64: RUN<scalar_t, 64>(__VA_ARGS__); break; \
    default: RUN<scalar_t, 0>(__VA_ARGS__);       \
  }

Tensor forward(const Tensor& value, at::IntArrayRef shapes, const Tensor& start,
               const Tensor& locations, const Tensor& weights) {
  const Tensor first = start.contiguous(), loc = locations.contiguous(), w = weights.contiguous();
  const Sizes s = sizes_of(value, shapes, first, loc, w);
  const Tensor by_head = value.transpose(0, 1).contiguous();
  Tensor out = at::empty({s.batch, s.queries, s.heads, s.channels}, value.options());
  AT_DISPATCH_FLOATING_TYPES(value.scalar_type(), "ms_deform_attn", [&] {
    DEVIS_BY_CHANNELS(run_forward, by_head, shapes, first, loc, w, out, s)
  });
  return out;
}

std::tuple<Tensor, Tensor, Tensor> backward(const Tensor& grad, const Tensor& value,
                                            at::IntArrayRef shapes, const Tensor& start,
                                            const Tensor& locations, const Tensor& weights) {
  const Tensor first = start.contiguous(), loc = locations.contiguous(), w = weights.contiguous();
  const Sizes s = sizes_of(value, shapes, first, loc, w);
  const Tensor by_head = value.transpose(0, 1).contiguous(), g = grad.contiguous();
  TORCH_CHECK(g.numel() == s.batch * s.queries * s.heads * s.channels, "grad does not fit");
  Tensor grad_by_head = at::zeros_like(by_head);
  Tensor grad_loc = at::empty_like(loc), grad_weight = at::empty_like(w);
  AT_DISPATCH_FLOATING_TYPES(value.scalar_type(), "ms_deform_attn_backward", [&] {
    DEVIS_BY_CHANNELS(run_backward, by_head, shapes, first, loc, w, g, grad_by_head, grad_loc,
                      grad_weight, s)
  });
  return {grad_by_head.transpose(0, 1).contiguous(), grad_loc, grad_weight};
}

}  // namespace

TORCH_LIBRARY(devis_native, m) {
  m.def("forward(Tensor value, int[] shapes, Tensor start, Tensor locations, Tensor weights) -> Tensor");
  m.def(
      "backward(Tensor grad, Tensor value, int[] shapes, Tensor start, Tensor locations, "
      "Tensor weights) -> (Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(devis_native, CPU, m) {
  m.impl("forward", &forward);
  m.impl("backward", &backward);
}
