// kernel_guided_conv2d and deform_conv2d with their gradients on a CPU, fused so that products never leave the caches.
//
// Both are out = weight (O, K) @ columns (K, pixels). A column holds what every tap reads of every channel: x times the
// pixel's own kernel, or bilinear samples of x. Backward, D = weight^T @ grad_out is the gradient of the columns, and
// grad_out @ columns^T that of the weight; what D means for the inputs is a few sums. The unit of work is a strip, up
// to WIDE vectors of neighbouring pixels of a line: its columns are made, multiplied and forgotten, and made again in
// backward. The order of all sums depends on the shapes and the number of threads alone. Tensors are contiguous.
#include <algorithm>
#include <cmath>
#include <vector>
#include <omp.h>
#include "vectors.hpp"

constexpr int ROWS = BYTES == 64 ? 8 : 4, SUMS = 3 * ROWS;  // rows that multiply takes at once; sums in registers
constexpr Int WIDE = 3, TILE = 512, DEPTH = 160;  // vectors of a strip; pixels of a tile; columns in the L1 cache
constexpr Int PITCH = WIDE * V;       // numbers of a row of a strip of any width
constexpr Int LINE = 64 / sizeof(T);  // a row of right has a multiple, on any processor: Python has it too
using std::max, std::min, std::vector;
inline Int ceil_div(Int a, Int b) { return (a + b - 1) / b; }
inline Int round_up(Int a, Int b) { return ceil_div(a, b) * b; }

// Calls f with n, of 1 to Most, as a constant.
template <int Most, class F> inline void with_constant(Int n, F f) {
    if constexpr (Most > 1) if (n < Most) return with_constant<Most - 1>(n, f);
    f(std::integral_constant<int, Most>());
}

// Points each pointer to so many numbers, whatever they are, in memory that the thread keeps between calls.
inline void reserve(std::initializer_list<std::pair<T**, Int>> pieces) {
    static thread_local vector<T> memory;
    Int total = LINE;
    for (auto [_, count] : pieces) total += round_up(count, LINE);
    if (Int(memory.size()) < total) memory.resize(total);
    T* next = memory.data() + (-reinterpret_cast<uintptr_t>(memory.data()) & 63) / sizeof(T);
    for (auto [pointer, count] : pieces) *pointer = next, next += round_up(count, LINE);
}

// to[j * to_pitch + i] = from[i * from_pitch + j], four by four: also of what lies between rows and a multiple of four.
inline void transpose(const T* from, Int from_pitch, T* to, Int to_pitch, Int rows, Int columns) {
    for (Int i = 0; i < rows; i += 4)
        for (Int j = 0; j < columns; j += 4) {
            Vec<4> row[4];
            for (int k = 0; k < 4; k++) row[k] = at<4>(from + (i + k) * from_pitch + j);
            for (int k = 0; k < 4; k++)
                at<4>(to + (j + k) * to_pitch + i) = Vec<4>{row[0][k], row[1][k], row[2][k], row[3][k]};
        }
}

struct Strip { Int row, column, vectors, count, place, size; };  // count: pixels that it has
using Strips = const vector<Strip>&;

// Those of some lines and columns of an image, whose planes have ``size`` pixels, ``width`` a line.
inline vector<Strip> strips_of(Int top, Int bottom, Int left, Int right, Int width, Int size) {
    vector<Strip> strips;
    const Int vectors = ceil_div(right - left, V), parts = ceil_div(vectors, WIDE);
    for (Int row = top; row < bottom; row++)
        for (Int i = 0; i < parts; i++) {
            const Int first = vectors * i / parts, own = vectors * (i + 1) / parts - first, column = left + first * V;
            strips.push_back({row, column, own, min(own * V, right - column), row * width + column, size});
        }
    return strips;
}

// The strip's pixels in some planes of an image, (planes, PITCH), zeros where it has none; and back, plus a bias.
inline void take(T* to, const T* image, const Strip& strip, Int planes) {
    image += strip.place;
    for (Int p = 0; p < planes; p++, image += strip.size, to += PITCH)
        std::fill(std::copy(image, image + strip.count, to), to + PITCH, T(0));
}
inline void give(const T* from, T* image, const T* bias, const Strip& strip, Int planes) {
    image += strip.place;
    for (Int p = 0; p < planes; p++, image += strip.size, from += PITCH)
        for (Int q = 0; q < strip.count; q++) image[q] = from[q] + (bias ? bias[p] : T(0));
}

// ---------------------------------------------------------------- the two matrix products

// What ``multiply`` reads: matrix(m, k), ROWS rows m beside each other, zeros where there is none. Shared by the team.
template <class F> void pack(T* packed, Int rows, Int depth, F matrix) {
#pragma omp for schedule(static)
    for (Int first = 0; first < rows; first += ROWS)
        for (Int k = 0; k < depth; k++)
            for (Int m = 0; m < ROWS; m++)
                packed[first * depth + k * ROWS + m] = first + m < rows ? matrix(first + m, k) : T(0);
}

// out[m][q] (+)= sum over k of matrix[m][k] * columns[k][q] for the pixels q of P vectors, with ``depth`` of the
// ``whole`` columns of the packed matrix.
template <int P>
void multiply(const T* matrix, Int whole, Int rows, const T* columns, Int depth, T* out, bool add) {
    for (Int first = 0; first < rows; first += ROWS, matrix += ROWS * whole, out += ROWS * PITCH) {
        Vec<> sum[ROWS][P], column[P];
        for (int m = 0; m < ROWS; m++)
            for (int v = 0; v < P; v++) sum[m][v] = add ? at(out + m * PITCH + v * V) : Vec<>{};
        for (Int k = 0; k < depth; k++) {
            for (int v = 0; v < P; v++) column[v] = at(columns + k * PITCH + v * V);
            for (int m = 0; m < ROWS; m++)
                for (int v = 0; v < P; v++) sum[m][v] += matrix[k * ROWS + m] * column[v];
        }
        for (int m = 0; m < ROWS; m++)
            for (int v = 0; v < P; v++) at(out + m * PITCH + v * V) = sum[m][v];
    }
}

// Steps to the next row, a constant or not, the next column and the next piece.
template <class Row> struct Matrix { const T* numbers; Row row; Int column, piece; };
template <class Row> Matrix(const T*, Row, Int, Int) -> Matrix<Row>;
template <Int n> constexpr std::integral_constant<Int, n> constant{};

// out[m][n] (+)= sum over k of left[m][k] * right[k][n]: M rows m and N vectors of n at once. k goes through pieces, with
// counts[s] columns of left in piece s, and as many rows of right, which begin PITCH rows after those of the piece before.
template <int M, int N, class Row>
void product(Matrix<Row> left, const vector<Int>& counts, const T* right, Int pitch, Int m, Int rows, T* out, bool add) {
    for (; m + M <= rows; m += M) {
        Vec<> sum[M][N], row[N];
        for (int i = 0; i < M; i++)
            for (int n = 0; n < N; n++) sum[i][n] = add ? at(out + (m + i) * pitch + n * V) : Vec<>{};
        for (size_t s = 0; s < counts.size(); s++) {
            const T *place = left.numbers + s * left.piece + m * left.row, *from = right + s * PITCH * pitch;
            for (Int k = 0; k < counts[s]; k++, place += left.column, from += pitch) {
                for (int n = 0; n < N; n++) row[n] = at(from + n * V);
                for (int i = 0; i < M; i++)
                    for (int n = 0; n < N; n++) sum[i][n] += place[i * left.row] * row[n];
            }
        }
        for (int i = 0; i < M; i++)
            for (int n = 0; n < N; n++) at(out + (m + i) * pitch + n * V) = sum[i][n];
    }
    if constexpr (M > 1) product<M / 2, N>(left, counts, right, pitch, m, rows, out, add);
}

// A row of right and of out has ``pitch`` numbers, whole vectors.
template <class Row>
void product(Matrix<Row> left, const vector<Int>& counts, const T* right, Int pitch, Int rows, T* out, bool add) {
    for (Int n = 0; n < pitch; n += 4 * V)
        with_constant<4>(min<Int>(4, (pitch - n) / V), [&](auto vectors) {
            constexpr int M = min(SUMS / vectors, 12);  // GCC unrolls no loop of more than 16 turns
            product<M, vectors>(left, counts, right + n, pitch, 0, rows, out + n, add);
        });
}

// ---------------------------------------------------------------- kernel_guided_conv2d

struct GuidedCall {  // filled by operators/native/__init__.py
    Int batch, channels, outputs, ks, height, width, threads;
    const T *x, *kernel, *weight, *bias, *grad_out;  // grad_out is null in forward
    T *matrix, *sums, *out, *grad_x, *grad_kernel;  // sums: (threads, K, padded) of zeros; grad_kernel may be null
};

// columns[c, t][p] = kernel[t, p] * x[c, p + offset(t)]. A tile is some lines of an image, about TILE pixels. Of its
// channels as many are taken at once as make DEPTH columns, with the window of x that they see, zeros around the image.
// Backward, tiles whose windows overlap are computed in different phases.
struct Guided : GuidedCall {
    const bool back = sums;  // which is there for an empty batch, too
    Int taps = ks * ks, half = ks / 2, depth = channels * taps, size = height * width;
    Int block = ceil_div(channels, ceil_div(depth, DEPTH));                             // channels at once
    Int across = round_up(ceil_div(width, ceil_div(width, TILE / 2)), V), down = 1;  // of a tile
    Int pitch = across + 2 * half, plane = 0, phases = 1;  // numbers of a line and of a channel of a window
    Int padded = round_up(outputs, LINE), panel = PITCH * round_up(block * taps, ROWS);
    Int tiles(Int phase) const { return max<Int>(ceil_div(ceil_div(height, down) - phase, phases), 0); }
    double set_lines(Int lines) {  // and returns the time of the thread that has the most to do, in lines
        double time = 0;
        down = lines, phases = back ? 1 + ceil_div(2 * half, lines) : 1, plane = (down + 2 * half) * pitch;
        for (Int p = 0; p < phases; p++) time += ceil_div(batch * tiles(p), threads) * (lines + 0.1 + 0.05 * half);
        return time;
    }

    // f(place in the window, place in x, numbers) for each line of the window that is in the image.
    template <class F> void each_line(Int here, Int top, Int left, F f) const {
        const Int from = max<Int>(left - half, 0), to = from - left + half, count = min(pitch - to, width - from);
        for (Int c = 0; c < here; c++)
            for (Int y = max<Int>(top - half, 0); y < min(top + down + half, height); y++)
                f(c * plane + (y - top + half) * pitch + to, c * size + y * width + from, count);
    }

    template <int P> void fill(T* columns, const T* guide, const T* window, Int here) const {
        for (Int c = 0; c < here; c++, window += plane)
            for (Int i = 0, t = 0; i < ks; i++)
                for (Int j = 0; j < ks; j++, t += PITCH, columns += PITCH)
                    for (int v = 0; v < P * V; v += V)
                        at(columns + v) = at(guide + t + v) * at(window + i * pitch + j + v);
    }

    // grad_guide[t, p] += sum over c of D[c, t][p] * x[c, p + offset(t)], and D adds guide[t, p] * D[c, t][p] to
    // grad_x[c, p + offset(t)]. Taps beside each other add to overlapping vectors: other lines come between them.
    template <int P>
    void spread(const T* d, const T* guide, const T* window, T* grad_guide, T* grad_window, Int here) const {
        for (Int j = 0; j < ks; j++)
            for (Int i = 0; i < ks; i++)
                for (int v = 0; v < P * V; v += V) {
                    const Int t = (i * ks + j) * PITCH + v;
                    const Vec<> factor = at(guide + t);
                    Vec<> sum = at(grad_guide + t);
                    for (Int c = 0, place = i * pitch + j + v; c < here; c++, place += plane) {
                        const Vec<> own = at(d + c * taps * PITCH + t);
                        sum += own * at(window + place);
                        at(grad_window + place) += factor * own;
                    }
                    at(grad_guide + t) = sum;
                }
    }

    void operator()() {
        Int best = 1;
        for (Int lines = 2; lines <= min(height, TILE / across); lines++)
            if (set_lines(lines) <= set_lines(best)) best = lines;
        set_lines(best);
        const Int most = down * ceil_div(across, V), guides = PITCH * taps, results = PITCH * round_up(outputs, ROWS);
        const Int part = round_up(block * taps, ROWS) * outputs;  // of the matrix, backward
#pragma omp parallel num_threads(threads)
        {
            T *guide, *window, *columns, *result, *grad_guide, *grad_window, *d, *turned;  // result: out, or grad_out
            reserve({{&guide, most * guides}, {&window, block * plane}, {&columns, (back ? most : 1) * panel},
                     {&result, most * results}, {&grad_guide, back * most * guides}, {&d, back * panel},
                     {&grad_window, back * block * plane}, {&turned, back * most * PITCH * padded}});
            if (!back) pack(matrix, outputs, depth, [&](Int o, Int k) { return weight[o * depth + k]; });
            for (Int c = 0; back && c < channels; c += block)
                pack(matrix + c / block * part, min(block, channels - c) * taps, outputs,
                     [&](Int k, Int o) { return weight[o * depth + c * taps + k]; });

            auto tile = [&](Int b, Int top, Int left) {
                const Int bottom = min(top + down, height), right = min(left + across, width);
                const auto strips = strips_of(top, bottom, left, right, width, size);
                const Int count = strips.size();
                vector<Int> counts;
                for (const Strip& strip : strips) counts.push_back(strip.count);
                for (Int s = 0; s < count; s++) {
                    take(guide + s * guides, kernel + b * taps * size, strips[s], taps);
                    if (!back) continue;
                    T* own = result + s * results;
                    take(own, grad_out + b * outputs * size, strips[s], outputs);
                    transpose(own, PITCH, turned + s * PITCH * padded, padded, outputs, PITCH);
                    std::fill(grad_guide + s * guides, grad_guide + (s + 1) * guides, T(0));
                }
                for (Int c = 0; c < channels; c += block) {
                    const Int here = min(block, channels - c), rows = here * taps, image = (b * channels + c) * size;
                    std::fill(window, window + here * plane, T(0));
                    each_line(here, top, left, [&](Int to, Int from, Int n) {
                        std::copy(x + image + from, x + image + from + n, window + to);
                    });
                    std::fill(grad_window, grad_window + back * here * plane, T(0));
                    for (Int s = 0; s < count; s++)
                        with_constant<WIDE>(strips[s].vectors, [&](auto P) {
                            const Int place = (strips[s].row - top) * pitch + strips[s].column - left, g = s * guides;
                            T *in = columns + back * s * panel, *ends = result + s * results;
                            fill<P>(in, guide + g, window + place, here);
                            if (!back) return multiply<P>(matrix + c * taps * ROWS, depth, outputs, in, rows, ends, c);
                            multiply<P>(matrix + c / block * part, outputs, rows, ends, outputs, d, false);
                            spread<P>(d, guide + g, window + place, grad_guide + g, grad_window + place, here);
                        });
                    if (!back) continue;
                    T* own = sums + (omp_get_thread_num() * depth + c * taps) * padded;
                    product(Matrix{columns, constant<PITCH>, 1, panel}, counts, turned, padded, rows, own, true);
                    each_line(here, top, left, [&](Int from, Int to, Int n) {
                        for (Int q = 0; q < n; q++) grad_x[image + to + q] += grad_window[from + q];
                    });
                }
                for (Int s = 0; s < count; s++)
                    if (!back) give(result + s * results, out + b * outputs * size, bias, strips[s], outputs);
                    else if (grad_kernel)
                        give(grad_guide + s * guides, grad_kernel + b * taps * size, nullptr, strips[s], taps);
            };
            for (Int phase = 0; phase < phases; phase++)
#pragma omp for schedule(static)
                for (Int task = 0; task < batch * tiles(phase); task++)
                    for (Int left = 0; left < width; left += across)
                        tile(task / tiles(phase), (task % tiles(phase) * phases + phase) * down, left);
        }
    }
};

// ---------------------------------------------------------------- deform_conv2d

struct DeformedCall {
    Int batch, channels, outputs, taps_down, taps_across, height, width, out_height, out_width;
    Int stride_down, stride_across, padding_down, padding_across, dilation_down, dilation_across, threads, splits;
    const T *x, *offset, *weight, *bias, *grad_out;  // x: (B, H * W + 1, C); weight: (O, kh, kw, C)
    T *matrix, *sums, *out, *grad_x, *grad_offset;  // grad_x: (B, splits, H * W + 1, C), zeros
};

// columns[t, c][p] = x[c] between four pixels, at p * stride - padding + position(t) * dilation + offset[t, p]. In x a
// pixel's channels, a multiple of four, lie beside each other, so that a corner is a vector; its last pixel, of zeros,
// stands for all outside. Samples lie as x does, a pixel's beside each other, so that the vectors of the products are of
// outputs and of columns. An image's lines are split, and each split adds to a gradient of x of its own.
struct Deformed : DeformedCall {
    const bool back = sums;  // which is there for an empty batch, too
    Int taps = taps_down * taps_across, size = height * width, out_size = out_height * out_width;
    Int image = (size + 1) * channels, depth = taps * channels;
    Int padded = round_up(outputs, LINE), pitch = round_up(depth, LINE);

    struct Corners {  // of a strip's samples for one tap: above left, above right, below left, below right
        Int count;
        int32_t top[PITCH], left[PITCH], place[4][PITCH];
        T down[PITCH], across[PITCH], weight[4][PITCH];
    };

    // A NaN stays in the weights, where it meets the zeros outside; limits keep every number within the integers.
    void find(Corners& corners, const T* offsets, Int tap, const Strip& strip) const {
        const T first_down = strip.row * stride_down - padding_down + tap / taps_across * dilation_down;
        const T first_across = strip.column * stride_across - padding_across + tap % taps_across * dilation_across;
        const int32_t rows = height, columns = width, step = stride_across;
        corners.count = strip.count;
        for (int32_t q = 0; q < strip.count; q++) {
            const T y = first_down + offsets[q], x = first_across + q * step + offsets[out_size + q];
            const T top = std::floor(y), left = std::floor(x);
            corners.down[q] = y - top, corners.across[q] = x - left;
            corners.top[q] = top >= -2 ? (top <= rows ? top : T(rows)) : T(-2);
            corners.left[q] = left >= -2 ? (left <= columns ? left : T(columns)) : T(-2);
        }
        for (int n = 0; n < 4; n++)
            for (Int q = 0; q < strip.count; q++) {
                const int32_t y = corners.top[q] + n / 2, x = corners.left[q] + n % 2;
                const T down = corners.down[q], across = corners.across[q];
                const bool inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns);
                corners.place[n][q] = inside ? y * columns + x : rows * columns;
                corners.weight[n][q] = (n / 2 ? down : 1 - down) * (n % 2 ? across : 1 - across);
            }
    }

    template <int N> static T total(Vec<N> value) {
        Vec<N / 2> halves[2];
        __builtin_memcpy(halves, &value, sizeof(value));
        if constexpr (N == 2) return halves[0][0] + halves[1][0];
        else return total<N / 2>(halves[0] + halves[1]);
    }

    // samples[q][t, c] is the sum of four corners times their weights. Backward, each corner's gradient is d, that of
    // the sample, times its weight; the offset's is d times a difference of corners.
    template <int N, bool Back>
    void sample(const Corners& corners, const T* x, T* samples, const T* d, T* grad_x, T* grads) const {
        for (Int q = 0; q < corners.count; q++) {
            const T down = corners.down[q], across = corners.across[q];
            Int place[4];
            T w[4];
            for (int n = 0; n < 4; n++) place[n] = corners.place[n][q] * channels, w[n] = corners.weight[n][q];
            Vec<N> value[4], by_down{}, by_across{};
            for (Int c = 0; c < channels; c += N) {
                for (int n = 0; n < 4; n++) value[n] = at<N>(x + place[n] + c);
                const Vec<N> sum = w[0] * value[0] + w[1] * value[1] + w[2] * value[2] + w[3] * value[3];
                at<N>(samples + q * depth + c) = sum;
                if constexpr (!Back) continue;
                const Vec<N> own = at<N>(d + q * pitch + c);
                for (int n = 0; n < 4; n++) at<N>(grad_x + place[n] + c) += w[n] * own;
                by_down += own * ((1 - across) * (value[2] - value[0]) + across * (value[3] - value[1]));
                by_across += own * ((1 - down) * (value[1] - value[0]) + down * (value[3] - value[2]));
            }
            if constexpr (Back) grads[q] = total<N>(by_down), grads[out_size + q] = total<N>(by_across);
        }
    }

    void operator()() const {
#pragma omp parallel num_threads(threads)
        {
            T *samples, *result, *turned, *d;  // (PITCH, K); out, or grad_out, (O, PITCH) and transposed; that of samples
            reserve({{&samples, PITCH * depth}, {&result, PITCH * round_up(outputs, 4)}, {&turned, PITCH * padded},
                     {&d, back * PITCH * pitch}});
            // The weight, (O, K) backward and (K, O) forward, rows filled with zeros.
            const Int rows = back ? outputs : depth, numbers = back ? pitch : padded;
#pragma omp for schedule(static)
            for (Int row = 0; row < rows; row++)
                for (Int n = 0; n < numbers; n++)
                    matrix[row * numbers + n] = n >= (back ? depth : outputs) ? T(0)
                                                : weight[back ? row * depth + n : n * depth + row];

#pragma omp for schedule(static)
            for (Int task = 0; task < batch * splits; task++) {
                const Int b = task / splits, part = task % splits;
                const Int top = out_height * part / splits, bottom = out_height * (part + 1) / splits;
                for (const Strip& strip : strips_of(top, bottom, 0, out_width, out_width, out_size)) {
                    const Int count = strip.count;
                    if (back) {
                        take(result, grad_out + b * outputs * out_size, strip, outputs);
                        transpose(result, PITCH, turned, padded, outputs, PITCH);
                        product(Matrix{result, constant<1>, PITCH, 0}, {outputs}, matrix, pitch, count, d, false);
                    }
                    for (Int t = 0; t < taps; t++) {
                        const Int place = (b * taps + t) * 2 * out_size + strip.place, first = t * channels;
                        Corners corners;
                        find(corners, offset + place, t, strip);
                        auto call = back ? channels % V ? &Deformed::sample<4, true> : &Deformed::sample<V, true>
                                         : channels % V ? &Deformed::sample<4, false> : &Deformed::sample<V, false>;
                        T *grad = grad_x + back * task * image, *by_place = grad_offset + back * place;
                        (this->*call)(corners, x + b * image, samples + first, d + first, grad, by_place);
                    }
                    T* own = sums + back * omp_get_thread_num() * depth * padded;
                    if (back) {
                        product(Matrix{samples, constant<1>, depth, 0}, {count}, turned, padded, depth, own, true);
                        continue;
                    }
                    product(Matrix{samples, depth, 1, 0}, {depth}, matrix, padded, count, turned, false);
                    transpose(turned, padded, result, PITCH, count, outputs);
                    give(result, out + b * outputs * out_size, bias, strip, outputs);
                }
            }
        }
    }
};

extern "C" void guided(const GuidedCall* call) { Guided{*call}(); }
extern "C" void deformed(const DeformedCall* call) { Deformed{*call}(); }
