// kernel_guided_conv2d and deform_conv2d with their gradients on a CPU, fused so that products never leave the caches.
//
// Both are out = weight (O, K) @ columns (K, pixels), where columns hold, for every tap and channel, what the tap reads:
// x times the pixel's own kernel, or a bilinear sample of x. Backward, D = weight^T @ grad_out is the gradient of the
// columns, and grad_out @ columns^T that of the weight; what D means for the inputs is a few sums. The unit of work is a
// strip: up to WIDE vectors of neighbouring pixels of one row. Its columns are made, multiplied and forgotten. Which
// thread adds what in which order depends on the shapes and the number of threads alone.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>
#ifdef _OPENMP
#include <omp.h>
#endif

#if defined(__AVX512F__)
constexpr int BYTES = 64, ROWS = 8, SUMS = 24;  // of a vector; rows of a product at once; vectors that registers hold
#elif defined(__AVX2__) && defined(__FMA__)
constexpr int BYTES = 32, ROWS = 4, SUMS = 12;
#else
#error "this processor has neither AVX2 with FMA nor AVX-512"
#endif
constexpr int WIDE = 3;            // vectors of a strip
constexpr int64_t TILE = 512;      // pixels that share their columns' weights
constexpr int64_t DEPTH = 160;     // rows of columns that stay in the first cache

using Int = int64_t;
template <class T> constexpr Int V = BYTES / sizeof(T);  // numbers of a vector
template <class T, int N> struct Lanes { typedef T Type __attribute__((vector_size(N * sizeof(T)), aligned(sizeof(T)), may_alias)); };
template <class T, int N = V<T>> using Vec = typename Lanes<T, N>::Type;
template <int N, class T> static inline Vec<T, N> load(const T* from) { return *reinterpret_cast<const Vec<T, N>*>(from); }
template <int N, class T> static inline void store(T* to, Vec<T, N> value) { *reinterpret_cast<Vec<T, N>*>(to) = value; }
static inline Int ceil_div(Int a, Int b) { return (a + b - 1) / b; }
static inline Int round_up(Int a, Int b) { return ceil_div(a, b) * b; }
static inline int thread_number() {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

// Points each of the pointers to so many numbers, in memory that the thread keeps between calls.
template <class T> void reserve(std::initializer_list<std::pair<T**, Int>> pieces) {
    static thread_local std::vector<T> memory;
    const Int line = 64 / sizeof(T);
    Int total = line;
    for (auto& piece : pieces) total += round_up(piece.second, line) + line;  // a line apart, as some read beyond their end
    if (Int(memory.size()) < total) memory.resize(total);
    T* next = memory.data() + (-reinterpret_cast<uintptr_t>(memory.data()) & 63) / sizeof(T);
    for (auto& piece : pieces) {
        *piece.first = next;
        next += round_up(piece.second, line) + line;
    }
}

struct Strip { Int row, column, vectors; };  // of a tile

template <class T> std::vector<Strip> strips_of(Int rows, Int columns) {
    std::vector<Strip> strips;
    Int vectors = ceil_div(columns, V<T>), parts = ceil_div(vectors, WIDE);
    for (Int row = 0; row < rows; row++)
        for (Int i = 0; i < parts; i++) {
            Int first = vectors * i / parts;
            strips.push_back({row, first * V<T>, vectors * (i + 1) / parts - first});
        }
    return strips;
}

// Calls f with the number of vectors of a strip as a constant.
template <class F> static inline void with_width(Int vectors, F f) {
    if (vectors == 1) f(std::integral_constant<int, 1>());
    else if (vectors == 2) f(std::integral_constant<int, 2>());
    else f(std::integral_constant<int, WIDE>());
}

template <class T> static inline void take(T* to, const T* from, Int count, Int size) {  // and zeros after it
    std::copy(from, from + count, to);
    std::fill(to + count, to + size, T(0));
}

// to[j * to_pitch + i] = from[i * from_pitch + j]: four by four within registers, what is left one by one.
template <class T> void transpose(const T* from, Int from_pitch, T* to, Int to_pitch, Int rows, Int columns) {
    typedef Vec<T, 4> Four;
    typedef typename std::conditional<sizeof(T) == 4, int32_t, int64_t>::type Index;
    typedef Index Mask __attribute__((vector_size(4 * sizeof(T))));
    typedef T Aligned __attribute__((vector_size(4 * sizeof(T))));
    const Int whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
    for (Int i = 0; i < whole_rows; i += 4)
        for (Int j = 0; j < whole_columns; j += 4) {
            const T* f = from + i * from_pitch + j;
            Aligned a = load<4>(f), b = load<4>(f + from_pitch), c = load<4>(f + 2 * from_pitch), d = load<4>(f + 3 * from_pitch);
            Aligned ac = __builtin_shuffle(a, c, Mask{0, 4, 1, 5}), bd = __builtin_shuffle(b, d, Mask{0, 4, 1, 5});
            Aligned ac2 = __builtin_shuffle(a, c, Mask{2, 6, 3, 7}), bd2 = __builtin_shuffle(b, d, Mask{2, 6, 3, 7});
            T* t = to + j * to_pitch + i;
            store<4>(t, (Four)__builtin_shuffle(ac, bd, Mask{0, 4, 1, 5}));
            store<4>(t + to_pitch, (Four)__builtin_shuffle(ac, bd, Mask{2, 6, 3, 7}));
            store<4>(t + 2 * to_pitch, (Four)__builtin_shuffle(ac2, bd2, Mask{0, 4, 1, 5}));
            store<4>(t + 3 * to_pitch, (Four)__builtin_shuffle(ac2, bd2, Mask{2, 6, 3, 7}));
        }
    for (Int i = 0; i < rows; i++)
        for (Int j = i < whole_rows ? whole_columns : 0; j < columns; j++) to[j * to_pitch + i] = from[i * from_pitch + j];
}

// ---------------------------------------------------------------- the two matrix products

// out[m][q] (+)= sum over k of a[k][m] * columns[k][q] for ROWS rows m and P vectors of pixels q.
template <int P, class T> static inline void multiply_rows(const T* a, const T* columns, Int depth, T* out, bool add) {
    Vec<T> sum[ROWS][P];
    for (int m = 0; m < ROWS; m++)
        for (int v = 0; v < P; v++) sum[m][v] = add ? load<V<T>>(out + (m * P + v) * V<T>) : Vec<T>{};
    for (Int k = 0; k < depth; k++, a += ROWS, columns += P * V<T>) {
        Vec<T> column[P];
        for (int v = 0; v < P; v++) column[v] = load<V<T>>(columns + v * V<T>);
        for (int m = 0; m < ROWS; m++)
            for (int v = 0; v < P; v++) sum[m][v] += a[m] * column[v];
    }
    for (int m = 0; m < ROWS; m++)
        for (int v = 0; v < P; v++) store<V<T>>(out + (m * P + v) * V<T>, sum[m][v]);
}

// The same for all rows, of which each block of ROWS begins ``stride`` numbers of a after the one before.
template <int P, class T>
void multiply(const T* a, Int stride, Int rows, const T* columns, Int depth, T* out, bool add) {
    for (Int m = 0; m < rows; m += ROWS, a += stride, out += ROWS * P * V<T>) multiply_rows<P>(a, columns, depth, out, add);
}

// sums[k][o] += sum over the pixels q of all strips of columns[k][q] * grad[q][o], M rows k and N vectors of o at once.
template <class T> struct Weighing {
    const std::vector<Strip>& strips;
    const T *columns, *grad;      // each strip's (K, its pixels) and (its pixels, outputs)
    Int columns_stride, outputs;  // from strip to strip; of a row of grad and of sums

    template <int M, int N> void rows(Int first, Int last, Int o, T* sums) const {
        for (; first + M <= last; first += M) {
            Vec<T> sum[M][N];
            for (int m = 0; m < M; m++)
                for (int n = 0; n < N; n++) sum[m][n] = load<V<T>>(sums + (first + m) * outputs + o + n * V<T>);
            for (size_t s = 0; s < strips.size(); s++) {
                const Int pixels = strips[s].vectors * V<T>;
                const T* column = columns + s * columns_stride + first * pixels;
                const T* row = grad + s * WIDE * V<T> * outputs + o;
                for (Int q = 0; q < pixels; q++, row += outputs) {
                    Vec<T> g[N];
                    for (int n = 0; n < N; n++) g[n] = load<V<T>>(row + n * V<T>);
                    for (int m = 0; m < M; m++)
                        for (int n = 0; n < N; n++) sum[m][n] += column[m * pixels + q] * g[n];
                }
            }
            for (int m = 0; m < M; m++)
                for (int n = 0; n < N; n++) store<V<T>>(sums + (first + m) * outputs + o + n * V<T>, sum[m][n]);
        }
        if constexpr (M > 1) rows<M / 2, N>(first, last, o, sums);
    }

    void operator()(Int depth, T* sums) const {
        Int vectors = outputs / V<T>, parts = ceil_div(vectors, 4);
        for (Int i = 0; i < parts; i++) {
            Int o = vectors * i / parts * V<T>, n = vectors * (i + 1) / parts - vectors * i / parts;
            if (n == 1) rows<SUMS, 1>(0, depth, o, sums);
            else if (n == 2) rows<SUMS / 2, 2>(0, depth, o, sums);
            else if (n == 3) rows<SUMS / 3, 3>(0, depth, o, sums);
            else rows<SUMS / 4, 4>(0, depth, o, sums);
        }
    }
};

// weight[o][k] = sum over the threads of partial[thread][k][o], a share for each thread of a team.
template <class T> void add_partial(const T* partial, Int threads, Int depth, Int outputs, Int pitch, T* weight) {
#pragma omp for schedule(static)
    for (Int first = 0; first < depth; first += 64)
        for (Int o = 0; o < outputs; o++)
            for (Int k = first; k < std::min(first + 64, depth); k++) {
                T sum = 0;
                for (Int thread = 0; thread < threads; thread++) sum += partial[(thread * depth + k) * pitch + o];
                weight[o * depth + k] = sum;
            }
}

// What ``multiply`` reads: entry(k, m) of ROWS rows m beside each other, zeros where there is none.
template <class T, class F> void pack(T* to, Int rows, Int depth, F entry) {
    for (Int first = 0; first < rows; first += ROWS)
        for (Int k = 0; k < depth; k++)
            for (Int m = first; m < first + ROWS; m++) *to++ = m < rows ? entry(k, m) : T(0);
}

// ---------------------------------------------------------------- kernel_guided_conv2d

// columns[c, t][p] = kernel[t, p] * x[c, p + offset(t)]. A tile is some lines of an image, TILE pixels at most; of its
// channels as many are taken at once as make DEPTH columns, with the window of x that they see and zeros around it.
template <class T> struct Guided {
    Int batch, channels, outputs, ks, height, width, threads;
    Int taps = ks * ks, half = ks / 2, depth = channels * taps;
    Int block = ceil_div(channels, ceil_div(depth, DEPTH));               // channels at once
    Int across = round_up(ceil_div(width, ceil_div(width, TILE / 2)), V<T>);  // columns of the image in a tile
    Int down = 1;                                                          // lines
    Int pitch = across + 2 * half, plane = 0;                              // of the window: a line, a channel
    Int padded = round_up(outputs, ROWS), vectored = round_up(outputs, V<T>);
    Int panel = WIDE * V<T> * round_up(block * taps, ROWS);  // numbers of a strip's columns

    // Bands of lines whose windows would overlap are computed in different phases; the height of bands is chosen for
    // the least time of the thread with the most work.
    Int phases(Int lines, bool apart) const { return apart ? 1 + ceil_div(2 * half, lines) : 1; }
    Int bands(Int lines, Int phase, Int count) const { return ceil_div(std::max<Int>(ceil_div(height, lines) - phase, 0), count); }
    void choose_lines(bool apart) {
        double least = INFINITY;
        for (Int lines = std::min(height, std::max<Int>(1, TILE / across)); lines > 0; lines--) {
            Int count = phases(lines, apart);
            double time = 0;
            for (Int phase = 0; phase < count; phase++)
                time += ceil_div(batch * bands(lines, phase, count), threads) * (lines + 0.1 + 0.05 * half);
            if (time < least) least = time, down = lines;
        }
        plane = (down + 2 * half) * pitch;
    }

    void take_window(T* to, const T* x, Int channels_here, Int top, Int left) const {
        Int first = std::max<Int>(half - left, 0), last = std::min(pitch, width + half - left);
        for (Int c = 0; c < channels_here; c++)
            for (Int i = 0; i < down + 2 * half; i++, to += pitch) {
                Int y = top + i - half;
                if (y < 0 || y >= height) std::fill(to, to + pitch, T(0));
                else {
                    std::fill(to, to + first, T(0));
                    take(to + first, x + (c * height + y) * width + left + first - half, last - first, pitch - first);
                }
            }
    }

    void add_window(const T* from, T* grad_x, Int channels_here, Int top, Int left) const {
        Int first = std::max<Int>(half - left, 0), last = std::min(std::min(across, width - left) + 2 * half, width + half - left);
        for (Int c = 0; c < channels_here; c++)
            for (Int i = 0; i < down + 2 * half; i++, from += pitch) {
                Int y = top + i - half;
                if (y < 0 || y >= height) continue;
                T* to = grad_x + (c * height + y) * width + left - half;
                for (Int q = first; q < last; q++) to[q] += from[q];
            }
    }

    // Each strip's pixels in some planes of an image: (strip, planes, pixels), zeros beyond the image.
    void take_strips(T* to, const T* from, const std::vector<Strip>& strips, Int planes, Int stride, Int top, Int left) const {
        for (size_t s = 0; s < strips.size(); s++) {
            Int pixels = strips[s].vectors * V<T>, x = left + strips[s].column, count = std::min(pixels, width - x);
            const T* at = from + (top + strips[s].row) * width + x;
            for (Int t = 0; t < planes; t++) take(to + s * stride + t * pixels, at + t * height * width, count, pixels);
        }
    }

    void give_strips(const T* from, T* to, const T* bias, const std::vector<Strip>& strips, Int planes, Int stride, Int top, Int left) const {
        for (size_t s = 0; s < strips.size(); s++) {
            Int pixels = strips[s].vectors * V<T>, x = left + strips[s].column, count = std::min(pixels, width - x);
            T* at = to + (top + strips[s].row) * width + x;
            for (Int t = 0; t < planes; t++, at += height * width) {
                const T* own = from + s * stride + t * pixels;
                const T more = bias ? bias[t] : T(0);
                for (Int q = 0; q < count; q++) at[q] = own[q] + more;
            }
        }
    }

    template <int P> void fill(T* columns, const T* guide, const T* window, Int channels_here) const {
        for (Int c = 0; c < channels_here; c++, window += plane)
            for (Int i = 0, t = 0; i < ks; i++)
                for (Int j = 0; j < ks; j++, t++)
                    for (int v = 0; v < P; v++, columns += V<T>)
                        store<V<T>>(columns, load<V<T>>(guide + (t * P + v) * V<T>) * load<V<T>>(window + i * pitch + j + v * V<T>));
    }

    // grad_guide[t, p] += sum over c of D[c, t][p] * x[c, p + offset(t)]; grad_x[c, p + offset(t)] += guide[t, p] * D[c, t][p].
    // Neighbouring taps write to overlapping vectors, so lines of the window come before columns.
    template <int P> void spread(const T* d, const T* guide, const T* window, T* grad_guide, T* grad_window, Int channels_here) const {
        for (Int j = 0; j < ks; j++)
            for (Int i = 0; i < ks; i++) {
                const Int t = i * ks + j;
                Vec<T> factor[P], sum[P];
                for (int v = 0; v < P; v++) {
                    factor[v] = load<V<T>>(guide + (t * P + v) * V<T>);
                    sum[v] = load<V<T>>(grad_guide + (t * P + v) * V<T>);
                }
                for (Int c = 0; c < channels_here; c++)
                    for (int v = 0; v < P; v++) {
                        const Vec<T> own = load<V<T>>(d + ((c * taps + t) * P + v) * V<T>);
                        const Int at = c * plane + i * pitch + j + v * V<T>;
                        sum[v] += own * load<V<T>>(window + at);
                        store<V<T>>(grad_window + at, load<V<T>>(grad_window + at) + factor[v] * own);
                    }
                for (int v = 0; v < P; v++) store<V<T>>(grad_guide + (t * P + v) * V<T>, sum[v]);
            }
    }

    void forward(const T* x, const T* kernel, const T* weight, const T* bias, T* matrix, T* out) {
        choose_lines(false);
        const Int count = ceil_div(height, down), guide_size = WIDE * V<T> * taps, out_size = WIDE * V<T> * padded;
        const Int strips_most = down * ceil_div(across, V<T>);
#pragma omp parallel num_threads(threads)
        {
#pragma omp for schedule(static)
            for (Int first = 0; first < padded; first += ROWS)
                pack(matrix + first * depth, ROWS, depth, [&](Int k, Int m) { return first + m < outputs ? weight[(first + m) * depth + k] : T(0); });
            T *guide, *window, *columns, *sums;
            reserve<T>({{&guide, strips_most * guide_size}, {&window, block * plane}, {&columns, panel}, {&sums, strips_most * out_size}});
#pragma omp for schedule(static)
            for (Int task = 0; task < batch * count; task++) {
                const Int b = task / count, top = task % count * down;
                for (Int left = 0; left < width; left += across) {
                    const auto strips = strips_of<T>(std::min(down, height - top), std::min(across, width - left));
                    take_strips(guide, kernel + b * taps * height * width, strips, taps, guide_size, top, left);
                    for (Int c = 0; c < channels; c += block) {
                        const Int here = std::min(block, channels - c);
                        take_window(window, x + (b * channels + c) * height * width, here, top, left);
                        for (size_t s = 0; s < strips.size(); s++)
                            with_width(strips[s].vectors, [&](auto width_) {
                                constexpr int P = width_;
                                fill<P>(columns, guide + s * guide_size, window + strips[s].row * pitch + strips[s].column, here);
                                multiply<P>(matrix + c * taps * ROWS, ROWS * depth, outputs, columns, here * taps, sums + s * out_size, c > 0);
                            });
                    }
                    give_strips(sums, out + b * outputs * height * width, bias, strips, outputs, out_size, top, left);
                }
            }
        }
    }

    // matrix: (padded, outputs) for each block of channels; partial: (threads, depth, vectored) of zeros.
    void backward(const T* x, const T* kernel, const T* weight, const T* grad_out, T* matrix, T* partial, T* grad_x, T* grad_kernel, T* grad_weight) {
        choose_lines(true);
        const Int size = height * width, matrix_size = round_up(block * taps, ROWS) * outputs, count = phases(down, true);
        const Int guide_size = WIDE * V<T> * taps, grad_size = WIDE * V<T> * outputs, turned_size = WIDE * V<T> * vectored;
        const Int most = down * ceil_div(across, V<T>);
#pragma omp parallel num_threads(threads)
        {
#pragma omp for schedule(static)
            for (Int c = 0; c < channels; c += block)  // D[k] = sum over o of weight[o, k] * grad_out[o]
                pack(matrix + c / block * matrix_size, std::min(block, channels - c) * taps, outputs, [&](Int o, Int k) { return weight[o * depth + c * taps + k]; });
            T *guide, *grad_guide, *window, *grad_window, *columns, *d, *grad, *turned;
            reserve<T>({{&guide, most * guide_size}, {&grad_guide, most * guide_size}, {&window, block * plane}, {&grad_window, block * plane},
                        {&columns, most * panel}, {&d, panel}, {&grad, most * grad_size}, {&turned, most * turned_size}});
            T* weighed = partial + thread_number() * depth * vectored;
            std::fill(turned, turned + most * turned_size, T(0));
            for (Int phase = 0; phase < count; phase++) {
                const Int here_bands = bands(down, phase, count);
#pragma omp for schedule(static)
                for (Int task = 0; task < batch * here_bands; task++) {
                    const Int b = task / here_bands, top = (task % here_bands * count + phase) * down;
                    for (Int left = 0; left < width; left += across) {
                        const auto strips = strips_of<T>(std::min(down, height - top), std::min(across, width - left));
                        take_strips(guide, kernel + b * taps * size, strips, taps, guide_size, top, left);
                        take_strips(grad, grad_out + b * outputs * size, strips, outputs, grad_size, top, left);
                        for (size_t s = 0; s < strips.size(); s++)
                            transpose(grad + s * grad_size, strips[s].vectors * V<T>, turned + s * turned_size, vectored, outputs, strips[s].vectors * V<T>);
                        std::fill(grad_guide, grad_guide + strips.size() * guide_size, T(0));
                        for (Int c = 0; c < channels; c += block) {
                            const Int here = std::min(block, channels - c);
                            take_window(window, x + (b * channels + c) * size, here, top, left);
                            std::fill(grad_window, grad_window + here * plane, T(0));
                            for (size_t s = 0; s < strips.size(); s++)
                                with_width(strips[s].vectors, [&](auto width_) {
                                    constexpr int P = width_;
                                    const Int at = strips[s].row * pitch + strips[s].column;
                                    if (grad_weight) fill<P>(columns + s * panel, guide + s * guide_size, window + at, here);
                                    if (!grad_x && !grad_kernel) return;
                                    multiply<P>(matrix + c / block * matrix_size, ROWS * outputs, here * taps, grad + s * grad_size, outputs, d, false);
                                    spread<P>(d, guide + s * guide_size, window + at, grad_guide + s * guide_size, grad_window + at, here);
                                });
                            if (grad_weight) Weighing<T>{strips, columns, turned, panel, vectored}(here * taps, weighed + c * taps * vectored);
                            if (grad_x) add_window(grad_window, grad_x + (b * channels + c) * size, here, top, left);
                        }
                        if (grad_kernel) give_strips(grad_guide, grad_kernel + b * taps * size, nullptr, strips, taps, guide_size, top, left);
                    }
                }
            }
            if (grad_weight) add_partial(partial, threads, depth, outputs, vectored, grad_weight);
        }
    }
};

// ---------------------------------------------------------------- deform_conv2d

// columns[t, c][p] = x[c] between four pixels, at p * stride - padding + position(t) * dilation + offset[t, p]. Images
// are turned to (pixels, channels), so that a corner is a vector; one more pixel of zeros stands for all outside.
template <class T> struct Deformed {
    Int batch, channels, outputs, taps_down, taps_across, height, width, out_height, out_width;
    Int stride_down, stride_across, padding_down, padding_across, dilation_down, dilation_across, threads, splits;
    Int taps = taps_down * taps_across, size = height * width, out_size = out_height * out_width;
    Int filled = round_up(channels, 4), image = (size + 1) * filled, depth = taps * filled;
    Int vectored = round_up(outputs, V<T>), most = WIDE * V<T>;

    struct Corners {  // of a strip's samples for one tap
        int32_t at[4][WIDE * V<T>];
        T weight[4][WIDE * V<T>], down[WIDE * V<T>], across[WIDE * V<T>];
    };

    // A NaN stays in the weights, where it meets the zeros outside. Limits keep every float within the integers.
    void find(Corners& corners, const T* offset, Int tap, Int row, Int column, Int count) const {
        const T* down = offset + 2 * tap * out_size + row * out_width + column;
        const T* across = down + out_size;
        const T first_down = row * stride_down - padding_down + tap / taps_across * dilation_down;
        const T first_across = column * stride_across - padding_across + tap % taps_across * dilation_across;
        const int32_t rows = height, columns = width, outside = size;
        for (Int q = 0; q < count; q++) {
            const T y = first_down + down[q], x = first_across + q * stride_across + across[q];
            const T y0 = std::floor(y), x0 = std::floor(x), fy = y - y0, fx = x - x0;
            const int32_t top = y0 >= -2 ? (y0 <= rows ? y0 : T(rows)) : T(-2), left = x0 >= -2 ? (x0 <= columns ? x0 : T(columns)) : T(-2);
            const bool in_top = top >= 0 && top < rows, in_bottom = top >= -1 && top < rows - 1;
            const bool in_left = left >= 0 && left < columns, in_right = left >= -1 && left < columns - 1;
            const int32_t at = top * columns + left;
            corners.at[0][q] = in_top & in_left ? at : outside;
            corners.at[1][q] = in_top & in_right ? at + 1 : outside;
            corners.at[2][q] = in_bottom & in_left ? at + columns : outside;
            corners.at[3][q] = in_bottom & in_right ? at + columns + 1 : outside;
            corners.weight[0][q] = (1 - fy) * (1 - fx);
            corners.weight[1][q] = (1 - fy) * fx;
            corners.weight[2][q] = fy * (1 - fx);
            corners.weight[3][q] = fy * fx;
            corners.down[q] = fy;
            corners.across[q] = fx;
        }
    }

    template <int N> void sample(const Corners& corners, const T* pixels, T* samples, Int count) const {
        for (Int q = 0; q < count; q++) {
            const T *a = pixels + corners.at[0][q] * filled, *b = pixels + corners.at[1][q] * filled;
            const T *c = pixels + corners.at[2][q] * filled, *d = pixels + corners.at[3][q] * filled;
            for (Int k = 0; k < filled; k += N)
                store<N>(samples + q * filled + k, corners.weight[0][q] * load<N>(a + k) + corners.weight[1][q] * load<N>(b + k) +
                                                       corners.weight[2][q] * load<N>(c + k) + corners.weight[3][q] * load<N>(d + k));
        }
    }

    template <int N> static T sum_of(Vec<T, N> value) {
        if constexpr (N == 1) return value[0];
        else {
            Vec<T, N / 2> halves[2];
            __builtin_memcpy(&halves, &value, sizeof(value));
            return sum_of<N / 2>(halves[0] + halves[1]);
        }
    }

    // d: (pixels, channels), the gradient of the samples, which are made again in ``samples``. A sample's derivative by
    // its place is a difference of its corners; each corner's gradient is d times its weight.
    template <int N>
    void spread(const Corners& corners, const T* pixels, const T* d, T* samples, T* grad_pixels, T* grad_down, T* grad_across, Int count) const {
        for (Int q = 0; q < count; q++) {
            Int at[4];
            T w[4];
            for (int n = 0; n < 4; n++) at[n] = corners.at[n][q] * filled, w[n] = corners.weight[n][q];
            const T fy = corners.down[q], fx = corners.across[q];
            Vec<T, N> by_down{}, by_across{};
            for (Int k = 0; k < filled; k += N) {
                const Vec<T, N> own = load<N>(d + q * filled + k);
                Vec<T, N> x[4];
                for (int n = 0; n < 4; n++) x[n] = load<N>(pixels + at[n] + k);
                store<N>(samples + q * filled + k, w[0] * x[0] + w[1] * x[1] + w[2] * x[2] + w[3] * x[3]);
                by_down += own * ((1 - fx) * (x[2] - x[0]) + fx * (x[3] - x[1]));
                by_across += own * ((1 - fy) * (x[1] - x[0]) + fy * (x[3] - x[2]));
                for (int n = 0; n < 4; n++) store<N>(grad_pixels + at[n] + k, load<N>(grad_pixels + at[n] + k) + w[n] * own);
            }
            grad_down[q] = sum_of<N>(by_down);
            grad_across[q] = sum_of<N>(by_across);
        }
    }

    template <class F> void with_lanes(F f) const {  // f of how many channels are taken at once
        if (filled % V<T> == 0) f(std::integral_constant<int, V<T>>());
        else f(std::integral_constant<int, 4>());
    }

    void turn(const T* x, T* pixels) const {  // for a team
#pragma omp for schedule(static)
        for (Int b = 0; b < batch; b++) {
            std::fill(pixels + b * image, pixels + (b + 1) * image, T(0));
            transpose(x + b * channels * size, size, pixels + b * image, filled, channels, size);
        }
    }

    // weight: (outputs, taps, filled); matrix: (outputs rounded up, depth); pixels: (batch, size + 1, filled).
    void forward(const T* x, const T* offset, const T* weight, const T* bias, T* matrix, T* pixels, T* out) const {
#pragma omp parallel num_threads(threads)
        {
            turn(x, pixels);
#pragma omp single
            pack(matrix, outputs, depth, [&](Int k, Int m) { return weight[m * depth + k]; });
            T *samples, *columns, *sums;
            reserve<T>({{&samples, most * filled}, {&columns, most * depth}, {&sums, most * round_up(outputs, ROWS)}});
            std::fill(samples, samples + most * filled, T(0));
            Corners corners;
            const auto strips = strips_of<T>(1, out_width);
#pragma omp for schedule(static)
            for (Int line = 0; line < batch * out_height; line++) {
                const Int b = line / out_height, row = line % out_height;
                for (const Strip& strip : strips) {
                    const Int wide = strip.vectors * V<T>, count = std::min(wide, out_width - strip.column);
                    for (Int t = 0; t < taps; t++) {
                        find(corners, offset + b * 2 * taps * out_size, t, row, strip.column, count);
                        with_lanes([&](auto lanes) { sample<lanes>(corners, pixels + b * image, samples, count); });
                        transpose(samples, filled, columns + t * filled * wide, wide, wide, filled);
                    }
                    with_width(strip.vectors, [&](auto width_) { multiply<width_>(matrix, ROWS * depth, outputs, columns, depth, sums, false); });
                    T* to = out + (b * outputs * out_height + row) * out_width + strip.column;
                    for (Int o = 0; o < outputs; o++)
                        for (Int q = 0; q < count; q++) to[o * out_size + q] = sums[o * wide + q] + (bias ? bias[o] : T(0));
                }
            }
        }
    }

    // Images are split into ranges of lines, and each range sums its gradient of x apart: grad_pixels is (batch, splits,
    // size + 1, filled) of zeros, partial (threads, depth, vectored) of zeros, matrix (depth rounded up, outputs).
    void backward(const T* x, const T* offset, const T* weight, const T* grad_out, T* matrix, T* pixels, T* grad_pixels, T* partial, T* grad_x,
                  T* grad_offset, T* grad_weight) const {
#pragma omp parallel num_threads(threads)
        {
            turn(x, pixels);
#pragma omp single
            pack(matrix, depth, outputs, [&](Int o, Int k) { return weight[o * depth + k]; });
            T *samples, *columns, *d, *d_pixels, *grad, *turned;
            reserve<T>({{&samples, most * filled}, {&columns, most * depth}, {&d, most * round_up(depth, ROWS)}, {&d_pixels, most * filled},
                        {&grad, most * outputs}, {&turned, most * vectored}});
            std::fill(samples, samples + most * filled, T(0));
            std::fill(turned, turned + most * vectored, T(0));
            T* weighed = partial + thread_number() * depth * vectored;
            Corners corners;
#pragma omp for schedule(static)
            for (Int task = 0; task < batch * splits; task++) {
                const Int b = task / splits, part = task % splits;
                for (Int row = out_height * part / splits; row < out_height * (part + 1) / splits; row++)
                    for (const Strip& strip : strips_of<T>(1, out_width)) {
                        const Int wide = strip.vectors * V<T>, count = std::min(wide, out_width - strip.column);
                        const Int place = row * out_width + strip.column;
                        for (Int o = 0; o < outputs; o++) take(grad + o * wide, grad_out + (b * outputs + o) * out_size + place, count, wide);
                        transpose(grad, wide, turned, vectored, outputs, wide);
                        with_width(strip.vectors, [&](auto width_) { multiply<width_>(matrix, ROWS * outputs, depth, grad, outputs, d, false); });
                        for (Int t = 0; t < taps; t++) {
                            T* grad_down = grad_offset + (b * taps + t) * 2 * out_size + place;
                            find(corners, offset + b * 2 * taps * out_size, t, row, strip.column, count);
                            transpose(d + t * filled * wide, wide, d_pixels, filled, filled, wide);
                            with_lanes([&](auto lanes) {
                                spread<lanes>(corners, pixels + b * image, d_pixels, samples, grad_pixels + task * image, grad_down, grad_down + out_size, count);
                            });
                            std::fill(samples + count * filled, samples + wide * filled, T(0));
                            transpose(samples, filled, columns + t * filled * wide, wide, wide, filled);
                        }
                        Weighing<T>{{strip}, columns, turned, 0, vectored}(depth, weighed);
                    }
            }
#pragma omp for schedule(static)
            for (Int task = 0; task < batch * splits; task++) {  // a share of each image's pixels
                const Int b = task / splits, first = size * (task % splits) / splits, last = size * (task % splits + 1) / splits;
                T* sums = grad_pixels + b * splits * image;
                for (Int part = 1; part < splits; part++)
                    for (Int i = first * filled; i < last * filled; i++) sums[i] += sums[part * image + i];
                transpose(sums + first * filled, filled, grad_x + b * channels * size + first, size, last - first, channels);
            }
            add_partial(partial, threads, depth, outputs, vectored, grad_weight);
        }
    }
};

// ---------------------------------------------------------------- for ctypes: sizes in the order of the fields

#define EXPORT(T, NAME)                                                                                                \
    extern "C" void guided_forward_##NAME(const Int* s, const T* x, const T* kernel, const T* weight, const T* bias, T* matrix, T* out) { \
        Guided<T>{s[0], s[1], s[2], s[3], s[4], s[5], s[6]}.forward(x, kernel, weight, bias, matrix, out);                  \
    }                                                                                                                          \
    extern "C" void guided_backward_##NAME(const Int* s, const T* x, const T* kernel, const T* weight, const T* grad_out, T* matrix, T* partial, T* grad_x, T* grad_kernel, T* grad_weight) { \
        Guided<T>{s[0], s[1], s[2], s[3], s[4], s[5], s[6]}.backward(x, kernel, weight, grad_out, matrix, partial, grad_x, grad_kernel, grad_weight); \
    } \
    extern "C" void deformed_forward_##NAME(const Int* s, const T* x, const T* offset, const T* weight, const T* bias, T* matrix, T* pixels, T* out) { \
        Deformed<T>{s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10], s[11], s[12], s[13], s[14], s[15], s[16]}.forward(x, offset, weight, bias, matrix, pixels, out); \
    } \
    extern "C" void deformed_backward_##NAME(const Int* s, const T* x, const T* offset, const T* weight, const T* grad_out, T* matrix, T* pixels, T* grad_pixels, T* partial, T* grad_x, T* grad_offset, T* grad_weight) { \
        Deformed<T>{s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10], s[11], s[12], s[13], s[14], s[15], s[16]}.backward(x, offset, weight, grad_out, matrix, pixels, grad_pixels, partial, grad_x, grad_offset, grad_weight); \
    }
EXPORT(float, float32)
EXPORT(double, float64)
