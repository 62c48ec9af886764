// kernel_guided_conv2d and deform_conv2d with their gradients on a CPU, fused so that products never leave the caches.
//
// Both are out = weight (O, K) @ columns (K, pixels). A column holds what every tap reads of every channel: x times the
// pixel's own kernel, or bilinear samples of x. Backward, D = weight^T @ grad_out is the gradient of the columns, and
// grad_out @ columns^T that of the weight; what D means for the inputs is a few sums. The unit of work is a strip, up to
// WIDE vectors of neighbouring pixels of a line: its columns are made, multiplied and forgotten, backward once more. What
// is added in which order depends on the shapes and the number of threads alone. Tensors are contiguous, (B, C, H, W).
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>
#include <omp.h>

#if defined(__AVX512F__)
constexpr int BYTES = 64, ROWS = 8, SUMS = 24;  // of a vector; rows that multiply takes at once; sums in registers
#elif defined(__AVX2__) && defined(__FMA__)
constexpr int BYTES = 32, ROWS = 4, SUMS = 12;
#else
#error "without AVX2 and FMA this would be slower than PyTorch"
#endif
constexpr int64_t WIDE = 3, TILE = 512, DEPTH = 160;  // vectors of a strip; pixels of a tile; columns in the L1 cache

using Int = int64_t;
template <class T> constexpr int V = BYTES / sizeof(T);  // numbers of a vector
template <class T, int N> struct Lanes {
    typedef T Type __attribute__((vector_size(N * sizeof(T)), aligned(sizeof(T)), may_alias));
};
template <class T, int N = V<T>> using Vec = typename Lanes<T, N>::Type;
template <int N, class T> inline Vec<T, N>& at(T* place) { return *reinterpret_cast<Vec<T, N>*>(place); }
template <int N, class T> inline Vec<T, N> at(const T* place) { return *reinterpret_cast<const Vec<T, N>*>(place); }
inline Int ceil_div(Int a, Int b) { return (a + b - 1) / b; }
inline Int round_up(Int a, Int b) { return ceil_div(a, b) * b; }

// Calls f with n, of 1 to Most, as a constant.
template <int Most, class F> inline void with_constant(Int n, F f) {
    if constexpr (Most > 1)
        if (n < Most) return with_constant<Most - 1>(n, f);
    f(std::integral_constant<int, Most>());
}

// Points each pointer to so many zeros or older numbers, in memory that the thread keeps between calls.
template <class T> void reserve(std::initializer_list<std::pair<T**, Int>> pieces) {
    static thread_local std::vector<T> memory;
    const Int line = 64 / sizeof(T);  // of a cache
    Int total = line;
    for (auto [_, count] : pieces) total += round_up(count, line);
    if (Int(memory.size()) < total) memory.resize(total);
    T* next = memory.data() + (-reinterpret_cast<uintptr_t>(memory.data()) & 63) / sizeof(T);
    for (auto [pointer, count] : pieces) *pointer = next, next += round_up(count, line);
}

// to[j * to_pitch + i] = from[i * from_pitch + j]: four by four in registers, what is left one by one.
template <class T>
void transpose(const T* from, Int from_pitch, T* to, Int to_pitch, Int rows, Int columns) {
    const Int whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
    for (Int i = 0; i < whole_rows; i += 4)
        for (Int j = 0; j < whole_columns; j += 4) {
            Vec<T, 4> row[4];
            for (int k = 0; k < 4; k++) row[k] = at<4>(from + (i + k) * from_pitch + j);
            for (int k = 0; k < 4; k++)
                at<4>(to + (j + k) * to_pitch + i) = Vec<T, 4>{row[0][k], row[1][k], row[2][k], row[3][k]};
        }
    for (Int i = 0; i < rows; i++)
        for (Int j = i < whole_rows ? whole_columns : 0; j < columns; j++) to[j * to_pitch + i] = from[i * from_pitch + j];
}

// ---------------------------------------------------------------- strips of pixels

struct Strip { Int row, column, vectors, count; };  // place in the image; vectors, and the pixels in them that it has

template <class T> std::vector<Strip> strips_of(Int top, Int bottom, Int left, Int right) {
    std::vector<Strip> strips;
    const Int vectors = ceil_div(right - left, V<T>), parts = ceil_div(vectors, WIDE);
    for (Int row = top; row < bottom; row++)
        for (Int i = 0; i < parts; i++) {
            const Int first = vectors * i / parts, own = vectors * (i + 1) / parts - first, column = left + first * V<T>;
            strips.push_back({row, column, own, std::min<Int>(own * V<T>, right - column)});
        }
    return strips;
}

// The strip's pixels in some planes of an image, (planes, pixels), zeros where it has none; and back, plus a bias.
template <class T> void take(T* to, const T* image, Strip strip, Int planes, Int height, Int width) {
    image += strip.row * width + strip.column;
    for (Int p = 0; p < planes; p++, image += height * width, to += strip.vectors * V<T>)
        std::fill(std::copy(image, image + strip.count, to), to + strip.vectors * V<T>, T(0));
}

template <class T> void give(const T* from, T* image, const T* bias, Strip strip, Int planes, Int height, Int width) {
    image += strip.row * width + strip.column;
    for (Int p = 0; p < planes; p++, image += height * width, from += strip.vectors * V<T>)
        for (Int q = 0; q < strip.count; q++) image[q] = from[q] + (bias ? bias[p] : T(0));
}

// ---------------------------------------------------------------- the two matrix products

// What ``multiply`` reads: matrix(m, k) for ROWS rows m beside each other, zeros where there is none. Shared by the team.
template <class T, class F> void pack(T* packed, Int rows, Int depth, F matrix) {
#pragma omp for schedule(static)
    for (Int first = 0; first < rows; first += ROWS)
        for (Int k = 0; k < depth; k++)
            for (Int m = 0; m < ROWS; m++)
                packed[first * depth + k * ROWS + m] = first + m < rows ? matrix(first + m, k) : T(0);
}

// out[m][q] (+)= sum over k of matrix[m][k] * columns[k][q] for P vectors of pixels q. A block of ROWS rows of the packed
// matrix begins ``stride`` numbers after the one before.
template <int P, class T>
void multiply(const T* matrix, Int stride, Int rows, const T* columns, Int depth, T* out, bool add) {
    for (Int first = 0; first < rows; first += ROWS, matrix += stride, out += ROWS * P * V<T>) {
        Vec<T> sum[ROWS][P], column[P];
        for (int m = 0; m < ROWS; m++)
            for (int v = 0; v < P; v++) sum[m][v] = add ? at<V<T>>((const T*)out + (m * P + v) * V<T>) : Vec<T>{};
        for (Int k = 0; k < depth; k++) {
            for (int v = 0; v < P; v++) column[v] = at<V<T>>(columns + (k * P + v) * V<T>);
            for (int m = 0; m < ROWS; m++)
                for (int v = 0; v < P; v++) sum[m][v] += matrix[k * ROWS + m] * column[v];
        }
        for (int m = 0; m < ROWS; m++)
            for (int v = 0; v < P; v++) at<V<T>>(out + (m * P + v) * V<T>) = sum[m][v];
    }
}

// sums[k][o] += sum over the pixels q of all strips of columns[k][q] * grad[q][o]: M rows k and N vectors of o at once.
// A row of sums and of grad has ``pitch`` numbers, a whole number of vectors.
template <class T> struct Weigh {
    const std::vector<Strip>& strips;
    const T *columns, *grad;
    Int stride, pitch;  // stride: between the columns of two strips

    template <int M, int N> void rows(Int first, Int last, Int o, T* sums) const {
        for (; first + M <= last; first += M) {
            Vec<T> sum[M][N], row[N];
            for (int m = 0; m < M; m++)
                for (int n = 0; n < N; n++) sum[m][n] = at<V<T>>((const T*)sums + (first + m) * pitch + o + n * V<T>);
            for (size_t s = 0; s < strips.size(); s++) {
                const Int pixels = strips[s].vectors * V<T>;
                const T *column = columns + s * stride + first * pixels, *place = grad + s * WIDE * V<T> * pitch + o;
                for (Int q = 0; q < pixels; q++, place += pitch) {
                    for (int n = 0; n < N; n++) row[n] = at<V<T>>(place + n * V<T>);
                    for (int m = 0; m < M; m++)
                        for (int n = 0; n < N; n++) sum[m][n] += column[m * pixels + q] * row[n];
                }
            }
            for (int m = 0; m < M; m++)
                for (int n = 0; n < N; n++) at<V<T>>(sums + (first + m) * pitch + o + n * V<T>) = sum[m][n];
        }
        if constexpr (M > 1) rows<M / 2, N>(first, last, o, sums);
    }

    void operator()(Int depth, T* sums) const {
        const Int vectors = pitch / V<T>, parts = ceil_div(vectors, 4);
        for (Int i = 0; i < parts; i++) {
            const Int first = vectors * i / parts, own = vectors * (i + 1) / parts - first;
            with_constant<4>(own, [&](auto n) { rows<SUMS / n, n>(0, depth, first * V<T>, sums); });
        }
    }
};

// weight[o][k] = sum over the threads of sums[thread][k][o]. Shared by the team.
template <class T> void add_threads(const T* sums, Int threads, Int depth, Int outputs, Int pitch, T* weight) {
#pragma omp for schedule(static)
    for (Int first = 0; first < depth; first += 64)
        for (Int o = 0; o < outputs; o++)
            for (Int k = first; k < std::min(first + 64, depth); k++) {
                weight[o * depth + k] = sums[k * pitch + o];
                for (Int t = 1; t < threads; t++) weight[o * depth + k] += sums[(t * depth + k) * pitch + o];
            }
}

// ---------------------------------------------------------------- kernel_guided_conv2d

template <class T> struct GuidedCall {  // 64 bits each, filled by operators/native/__init__.py, which says what they are
    Int batch, channels, outputs, ks, height, width, threads;
    const T *x, *kernel, *weight, *bias, *grad_out;
    T *matrix, *sums, *out, *grad_x, *grad_kernel, *grad_weight;
};

// columns[c, t][p] = kernel[t, p] * x[c, p + offset(t)]. A tile is some lines of an image, about TILE pixels. Of its
// channels as many are taken at once as make DEPTH columns, with the window of x that they see, zeros around the image.
// Backward, tiles whose windows overlap are computed in different phases.
template <class T> struct Guided : GuidedCall<T> {
    using C = GuidedCall<T>;
    using C::batch, C::channels, C::outputs, C::ks, C::height, C::width, C::threads, C::x, C::kernel, C::weight, C::bias;
    using C::grad_out, C::matrix, C::sums, C::out, C::grad_x, C::grad_kernel, C::grad_weight;
    Int taps = ks * ks, half = ks / 2, depth = channels * taps, size = height * width;
    Int block = ceil_div(channels, ceil_div(depth, DEPTH));                             // channels at once
    Int across = round_up(ceil_div(width, ceil_div(width, TILE / 2)), V<T>), down = 1;  // of a tile
    Int pitch = across + 2 * half, plane = 0, phases = 1;                               // of a window: a line, a channel
    Int padded = round_up(outputs, V<T>), wide = WIDE * V<T>, panel = wide * round_up(block * taps, ROWS);

    Int tiles(Int phase) const { return std::max<Int>(ceil_div(ceil_div(height, down) - phase, phases), 0); }

    void choose_lines() {  // for the least time of the thread that has the most to do
        double least = INFINITY;
        Int best = 1;
        auto set = [&](Int lines) { down = lines, phases = grad_out ? 1 + ceil_div(2 * half, lines) : 1; };
        for (Int lines = std::min(height, std::max<Int>(1, TILE / across)); lines > 0; lines--) {
            double time = 0;
            set(lines);
            for (Int p = 0; p < phases; p++) time += ceil_div(batch * tiles(p), threads) * (lines + 0.1 + 0.05 * half);
            if (time < least) least = time, best = lines;
        }
        set(best);
        plane = (down + 2 * half) * pitch;
    }

    // f(place in the window, place in x, numbers) for each line of the window that is in the image.
    template <class F> void each_line(Int here, Int top, Int left, F f) const {
        const Int first = std::max<Int>(half - left, 0), last = std::min(pitch, width + half - left);
        for (Int c = 0; c < here; c++)
            for (Int y = std::max<Int>(top - half, 0); y < std::min(top + down + half, height); y++)
                f(c * plane + (y - top + half) * pitch + first, c * size + y * width + left - half + first, last - first);
    }

    template <int P> void fill(T* columns, const T* guide, const T* window, Int here) const {
        for (Int c = 0; c < here; c++, window += plane)
            for (Int i = 0, t = 0; i < ks; i++)
                for (Int j = 0; j < ks; j++, t += P * V<T>)
                    for (int v = 0; v < P * V<T>; v += V<T>, columns += V<T>)
                        at<V<T>>(columns) = at<V<T>>(guide + t + v) * at<V<T>>(window + i * pitch + j + v);
    }

    // grad_guide[t, p] = sum over c of D[c, t][p] * x[c, p + offset(t)], and D adds guide[t, p] * D[c, t][p] to
    // grad_x[c, p + offset(t)]. Taps beside each other add to overlapping vectors: other lines come between them.
    template <int P>
    void spread(const T* d, const T* guide, const T* window, T* grad_guide, T* grad_window, Int here) const {
        for (Int j = 0; j < ks; j++)
            for (Int i = 0; i < ks; i++)
                for (int v = 0; v < P * V<T>; v += V<T>) {
                    const Int t = (i * ks + j) * P * V<T> + v;
                    const Vec<T> factor = at<V<T>>(guide + t);
                    Vec<T> sum = at<V<T>>(grad_guide + t);
                    for (Int c = 0, place = i * pitch + j + v; c < here; c++, place += plane) {
                        const Vec<T> own = at<V<T>>(d + c * taps * P * V<T> + t);
                        sum += own * at<V<T>>(window + place);
                        at<V<T>>(grad_window + place) += factor * own;
                    }
                    at<V<T>>(grad_guide + t) = sum;
                }
    }

    // f(image, first line, first column, strips) for each tile of a phase. Shared by the team.
    template <class F> void each_tile(Int phase, F f) const {
#pragma omp for schedule(static)
        for (Int task = 0; task < batch * tiles(phase); task++)
            for (Int left = 0; left < width; left += across) {
                const Int b = task / tiles(phase), top = (task % tiles(phase) * phases + phase) * down;
                f(b, top, left, strips_of<T>(top, std::min(top + down, height), left, std::min(left + across, width)));
            }
    }

    void take_window(T* window, const T* image, Int here, Int top, Int left) const {
        std::fill(window, window + here * plane, T(0));
        each_line(here, top, left, [&](Int to, Int from, Int n) { std::copy(image + from, image + from + n, window + to); });
    }

    void forward() {
        choose_lines();
        const Int most = down * ceil_div(across, V<T>), own = wide * round_up(outputs, ROWS), guides = wide * taps;
#pragma omp parallel num_threads(threads)
        {
            T *guide, *window, *columns, *sum;
            reserve<T>({{&guide, most * guides}, {&window, block * plane}, {&columns, panel}, {&sum, most * own}});
            pack(matrix, outputs, depth, [&](Int o, Int k) { return weight[o * depth + k]; });
            each_tile(0, [&](Int b, Int top, Int left, const std::vector<Strip>& strips) {
                for (size_t s = 0; s < strips.size(); s++)
                    take(guide + s * guides, kernel + b * taps * size, strips[s], taps, height, width);
                for (Int c = 0; c < channels; c += block) {
                    const Int here = std::min(block, channels - c);
                    take_window(window, x + (b * channels + c) * size, here, top, left);
                    for (size_t s = 0; s < strips.size(); s++)
                        with_constant<WIDE>(strips[s].vectors, [&](auto P) {
                            const Int place = (strips[s].row - top) * pitch + strips[s].column - left;
                            fill<P>(columns, guide + s * guides, window + place, here);
                            multiply<P>(matrix + c * taps * ROWS, ROWS * depth, outputs, columns, here * taps, sum + s * own, c > 0);
                        });
                }
                for (size_t s = 0; s < strips.size(); s++)
                    give(sum + s * own, out + b * outputs * size, bias, strips[s], outputs, height, width);
            });
        }
    }

    void backward() {
        choose_lines();
        const Int most = down * ceil_div(across, V<T>), guides = wide * taps, part = round_up(block * taps, ROWS) * outputs;
#pragma omp parallel num_threads(threads)
        {
            T *guide, *grad_guide, *window, *grad_window, *columns, *d, *grad, *turned;
            reserve<T>({{&guide, most * guides}, {&grad_guide, most * guides}, {&window, block * plane},
                        {&grad_window, block * plane}, {&columns, most * panel}, {&d, panel},
                        {&grad, most * wide * outputs}, {&turned, most * wide * padded}});
            std::fill(turned, turned + most * wide * padded, T(0));
            for (Int c = 0; c < channels; c += block)
                pack(matrix + c / block * part, std::min(block, channels - c) * taps, outputs,
                     [&](Int k, Int o) { return weight[o * depth + c * taps + k]; });
            auto tile = [&](Int b, Int top, Int left, const std::vector<Strip>& strips) {
                for (size_t s = 0; s < strips.size(); s++) {
                    T* own = grad + s * wide * outputs;
                    take(guide + s * guides, kernel + b * taps * size, strips[s], taps, height, width);
                    take(own, grad_out + b * outputs * size, strips[s], outputs, height, width);
                    transpose(own, strips[s].vectors * V<T>, turned + s * wide * padded, padded, outputs, strips[s].vectors * V<T>);
                }
                std::fill(grad_guide, grad_guide + strips.size() * guides, T(0));
                for (Int c = 0; c < channels; c += block) {
                    const Int here = std::min(block, channels - c);
                    take_window(window, x + (b * channels + c) * size, here, top, left);
                    std::fill(grad_window, grad_window + here * plane, T(0));
                    for (size_t s = 0; s < strips.size(); s++)
                        with_constant<WIDE>(strips[s].vectors, [&](auto P) {
                            const Int place = (strips[s].row - top) * pitch + strips[s].column - left;
                            fill<P>(columns + s * panel, guide + s * guides, window + place, here);
                            multiply<P>(matrix + c / block * part, ROWS * outputs, here * taps, grad + s * wide * outputs, outputs, d, false);
                            spread<P>(d, guide + s * guides, window + place, grad_guide + s * guides, grad_window + place, here);
                        });
                    Weigh<T>{strips, columns, turned, panel, padded}(here * taps, sums + (omp_get_thread_num() * depth + c * taps) * padded);
                    T* image = grad_x + (b * channels + c) * size;
                    each_line(here, top, left, [&](Int from, Int to, Int n) {
                        for (Int q = 0; q < n; q++) image[to + q] += grad_window[from + q];
                    });
                }
                for (size_t s = 0; grad_kernel && s < strips.size(); s++)
                    give<T>(grad_guide + s * guides, grad_kernel + b * taps * size, nullptr, strips[s], taps, height, width);
            };
            for (Int phase = 0; phase < phases; phase++) each_tile(phase, tile);
            add_threads(sums, threads, depth, outputs, padded, grad_weight);
        }
    }
};

// ---------------------------------------------------------------- deform_conv2d

template <class T> struct DeformedCall {
    Int batch, channels, outputs, taps_down, taps_across, height, width, out_height, out_width;
    Int stride_down, stride_across, padding_down, padding_across, dilation_down, dilation_across, threads, splits;
    const T *x, *offset, *weight, *bias, *grad_out;
    T *matrix, *pixels, *grad_pixels, *sums, *out, *grad_x, *grad_offset, *grad_weight;
};

// columns[t, c][p] = x[c] between four pixels, at p * stride - padding + position(t) * dilation + offset[t, p]. Images
// are turned to (pixels, channels), so that a corner is a vector; one more pixel of zeros stands for all outside.
// Backward, an image's lines are split, and each split adds to a gradient of its own.
template <class T> struct Deformed : DeformedCall<T> {
    using C = DeformedCall<T>;
    using C::batch, C::channels, C::outputs, C::taps_down, C::taps_across, C::height, C::width, C::out_height, C::out_width;
    using C::x, C::weight, C::threads, C::splits, C::pixels, C::grad_pixels, C::matrix;
    Int taps = taps_down * taps_across, size = height * width, out_size = out_height * out_width;
    Int filled = round_up(channels, 4), image = (size + 1) * filled, depth = taps * filled;
    Int padded = round_up(outputs, V<T>), wide = WIDE * V<T>;

    struct Corners {  // of a strip's samples for one tap: above left, above right, below left, below right
        int32_t top[WIDE * V<T>], left[WIDE * V<T>], place[4][WIDE * V<T>];
        T down[WIDE * V<T>], across[WIDE * V<T>], weight[4][WIDE * V<T>];
    };

    // A NaN stays in the weights, where it meets the zeros outside; limits keep every number within the integers.
    void find(Corners& corners, Int b, Int tap, Strip strip) const {
        const T* down = C::offset + (b * taps + tap) * 2 * out_size + strip.row * out_width + strip.column;
        const T first_down = strip.row * C::stride_down - C::padding_down + tap / taps_across * C::dilation_down;
        const T first_across = strip.column * C::stride_across - C::padding_across + tap % taps_across * C::dilation_across;
        const int32_t rows = height, columns = width, step = C::stride_across;
        for (int32_t q = 0; q < strip.count; q++) {
            const T y = first_down + down[q], x = first_across + q * step + down[out_size + q];
            const T top = std::floor(y), left = std::floor(x);
            corners.down[q] = y - top, corners.across[q] = x - left;
            corners.top[q] = top >= -2 ? (top <= rows ? top : T(rows)) : T(-2);
            corners.left[q] = left >= -2 ? (left <= columns ? left : T(columns)) : T(-2);
        }
        for (int n = 0; n < 4; n++)
            for (Int q = 0; q < strip.count; q++) {
                const int32_t y = corners.top[q] + n / 2, x = corners.left[q] + n % 2;
                corners.place[n][q] = (y >= 0) & (y < rows) & (x >= 0) & (x < columns) ? y * columns + x : rows * columns;
                corners.weight[n][q] = (n / 2 ? corners.down[q] : 1 - corners.down[q]) * (n % 2 ? corners.across[q] : 1 - corners.across[q]);
            }
    }

    template <int N> static T total(Vec<T, N> value) {
        Vec<T, N / 2> halves[2];
        __builtin_memcpy(halves, &value, sizeof(value));
        if constexpr (N == 2) return halves[0][0] + halves[1][0];
        else return total<N / 2>(halves[0] + halves[1]);
    }

    // samples[q][c] is the sum of four corners times their weights. Where d, its gradient, is given: each corner's
    // gradient is d times its weight; the offset's is d times a difference of corners.
    template <int N>
    void sample(const Corners& corners, const T* x, Strip strip, T* samples, const T* d, T* grad_x, T* grad_down) const {
        for (Int q = 0; q < strip.count; q++) {
            Int place[4];
            T w[4];
            for (int n = 0; n < 4; n++) place[n] = corners.place[n][q] * filled, w[n] = corners.weight[n][q];
            const T down = corners.down[q], across = corners.across[q];
            Vec<T, N> value[4], by_down{}, by_across{};
            for (Int c = 0; c < filled; c += N) {
                for (int n = 0; n < 4; n++) value[n] = at<N>(x + place[n] + c);
                at<N>(samples + q * filled + c) = w[0] * value[0] + w[1] * value[1] + w[2] * value[2] + w[3] * value[3];
                if (!grad_x) continue;
                const Vec<T, N> own = at<N>(d + q * filled + c);
                for (int n = 0; n < 4; n++) at<N>(grad_x + place[n] + c) += w[n] * own;
                by_down += own * ((1 - across) * (value[2] - value[0]) + across * (value[3] - value[1]));
                by_across += own * ((1 - down) * (value[1] - value[0]) + down * (value[3] - value[2]));
            }
            if (grad_x) grad_down[q] = total<N>(by_down), grad_down[out_size + q] = total<N>(by_across);
        }
    }

    // The columns of a strip, (taps, channels, pixels); with d, the gradient of the columns, also what it means for x and
    // offset.
    void fill(Int b, Strip strip, T* samples, T* columns, const T* d, T* d_pixels, T* grad_x) const {
        const Int count = strip.vectors * V<T>;
        Corners corners;
        for (Int t = 0; t < taps; t++) {
            find(corners, b, t, strip);
            if (d) transpose(d + t * filled * count, count, d_pixels, filled, filled, count);
            T* grad_down = d ? C::grad_offset + (b * taps + t) * 2 * out_size + strip.row * out_width + strip.column : nullptr;
            auto with = [&](auto N) { sample<N>(corners, pixels + b * image, strip, samples, d_pixels, grad_x, grad_down); };
            if (filled % V<T>) with(std::integral_constant<int, 4>());
            else with(std::integral_constant<int, V<T>>());
            transpose(samples, filled, columns + t * filled * count, count, count, filled);
        }
    }

    void turn() const {
#pragma omp for schedule(static)
        for (Int b = 0; b < batch; b++) {
            std::fill(pixels + b * image, pixels + (b + 1) * image, T(0));
            transpose(x + b * channels * size, size, pixels + b * image, filled, channels, size);
        }
    }

    void forward() const {
#pragma omp parallel num_threads(threads)
        {
            T *samples, *columns, *sum;
            reserve<T>({{&samples, wide * filled}, {&columns, wide * depth}, {&sum, wide * round_up(outputs, ROWS)}});
            std::fill(samples, samples + wide * filled, T(0));
            turn();
            pack(matrix, outputs, depth, [&](Int o, Int k) { return weight[o * depth + k]; });
#pragma omp for schedule(static)
            for (Int line = 0; line < batch * out_height; line++)
                for (Strip strip : strips_of<T>(line % out_height, line % out_height + 1, 0, out_width)) {
                    const Int b = line / out_height;
                    fill(b, strip, samples, columns, nullptr, nullptr, nullptr);
                    with_constant<WIDE>(strip.vectors, [&](auto P) { multiply<P>(matrix, ROWS * depth, outputs, columns, depth, sum, false); });
                    give(sum, C::out + b * outputs * out_size, C::bias, strip, outputs, out_height, out_width);
                }
        }
    }

    void backward() const {
#pragma omp parallel num_threads(threads)
        {
            T *samples, *columns, *d, *d_pixels, *grad, *turned;
            reserve<T>({{&samples, wide * filled}, {&columns, wide * depth}, {&d, wide * round_up(depth, ROWS)},
                        {&d_pixels, wide * filled}, {&grad, wide * outputs}, {&turned, wide * padded}});
            std::fill(turned, turned + wide * padded, T(0));
            turn();
            pack(matrix, depth, outputs, [&](Int k, Int o) { return weight[o * depth + k]; });
#pragma omp for schedule(static)
            for (Int task = 0; task < batch * splits; task++) {
                const Int b = task / splits, top = out_height * (task % splits) / splits, bottom = out_height * (task % splits + 1) / splits;
                for (Strip strip : strips_of<T>(top, bottom, 0, out_width)) {
                    take(grad, C::grad_out + b * outputs * out_size, strip, outputs, out_height, out_width);
                    transpose(grad, strip.vectors * V<T>, turned, padded, outputs, strip.vectors * V<T>);
                    with_constant<WIDE>(strip.vectors, [&](auto P) { multiply<P>(matrix, ROWS * outputs, depth, grad, outputs, d, false); });
                    std::fill(samples, samples + wide * filled, T(0));
                    fill(b, strip, samples, columns, d, d_pixels, grad_pixels + task * image);
                    Weigh<T>{{strip}, columns, turned, 0, padded}(depth, C::sums + omp_get_thread_num() * depth * padded);
                }
            }
#pragma omp for schedule(static)
            for (Int task = 0; task < batch * splits; task++) {  // a share of each image's pixels
                const Int b = task / splits, first = size * (task % splits) / splits, last = size * (task % splits + 1) / splits;
                T* sum = grad_pixels + b * splits * image;
                for (Int i = first * filled; i < last * filled; i++)
                    for (Int split = 1; split < splits; split++) sum[i] += sum[split * image + i];
                transpose(sum + first * filled, filled, C::grad_x + b * channels * size + first, size, last - first, channels);
            }
            add_threads(C::sums, threads, depth, outputs, padded, C::grad_weight);
        }
    }
};

#define EXPORT(T)                                                                                                      \
    extern "C" void guided_forward_##T(const GuidedCall<T>* call) { Guided<T>{*call}.forward(); }                      \
    extern "C" void guided_backward_##T(const GuidedCall<T>* call) { Guided<T>{*call}.backward(); }                    \
    extern "C" void deformed_forward_##T(const DeformedCall<T>* call) { Deformed<T>{*call}.forward(); }                \
    extern "C" void deformed_backward_##T(const DeformedCall<T>* call) { Deformed<T>{*call}.backward(); }
EXPORT(float)
EXPORT(double)
