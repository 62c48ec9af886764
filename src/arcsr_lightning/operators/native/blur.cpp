// Eq. (1)'s blur on a CPU: out = sum over kernels m of mask[m] * (x correlated with kernel[m]), each a handful of taps.
//
// Motion leaves most taps of a kernel zero, and most masks are zero somewhere: only what counts is computed, for a strip
// of pixels of a line at a time, whose sums stay in registers. Tensors are contiguous, x has a margin for the taps.
#include <algorithm>
#include <vector>
#include <omp.h>
#include "vectors.hpp"

constexpr int WIDE = 8;  // vectors of a strip: so many sums hide how long one takes
using std::min, std::vector;

struct BlurCall {  // x (batch, channels, height + size - 1, width + size - 1), kernel (batch, kernels, size, size)
    Int batch, channels, kernels, size, height, width, threads;
    const T *x, *kernel, *mask;  // mask (batch, kernels, height, width)
    T* out;                      // (batch, channels, height, width)
};
struct Tap { Int place; T weight; };  // how far from a pixel's first tap it lies in x

// The taps of every kernel that are not zero.
static vector<vector<Tap>> taps_of(const BlurCall& call) {
    vector<vector<Tap>> taps(call.batch * call.kernels);
    const T* weight = call.kernel;
    for (auto& own : taps)
        for (Int dy = 0; dy < call.size; dy++)
            for (Int dx = 0; dx < call.size; dx++, weight++)
                if (*weight != T(0)) own.push_back({dy * (call.width + call.size - 1) + dx, *weight});
    return taps;
}

// P vectors of N pixels of one image and line, from ``column`` on, in all channels.
template <int P, int N> static void strip(const BlurCall& call, const vector<Tap>* taps, Int image, Int row, Int column) {
    const Int pitch = call.width + call.size - 1, plane = (call.height + call.size - 1) * pitch;
    const Int area = call.height * call.width, here = row * call.width + column;
    for (Int c = 0; c < call.channels; c++) {
        const T* x = call.x + (image * call.channels + c) * plane + row * pitch + column;
        Vec<N> total[P] = {};
        for (Int m = 0; m < call.kernels; m++) {
            const T* mask = call.mask + (image * call.kernels + m) * area + here;
            if (std::all_of(mask, mask + P * N, [](T value) { return value == T(0); })) continue;
            Vec<N> sum[P] = {};
            for (const Tap& tap : taps[m])
                for (int p = 0; p < P; p++) sum[p] += tap.weight * at<N>(x + tap.place + p * N);
            for (int p = 0; p < P; p++) total[p] += at<N>(mask + p * N) * sum[p];
        }
        T* out = call.out + (image * call.channels + c) * area + here;
        for (int p = 0; p < P; p++) at<N>(out + p * N) = total[p];
    }
}

// A line, strip by strip; the last one ends with the line, and makes again what it shares with the one before.
template <int P, int N> static void line(const BlurCall& call, const vector<Tap>* taps, Int image, Int row) {
    for (Int column = 0; column < call.width; column += P * N)
        strip<P, N>(call, taps, image, row, min(column, call.width - P * N));
}

extern "C" void blended(const BlurCall* call) {
    const auto taps = taps_of(*call);
#pragma omp parallel for collapse(2) schedule(static) num_threads(call->threads)
    for (Int image = 0; image < call->batch; image++)
        for (Int row = 0; row < call->height; row++) {
            const vector<Tap>* own = taps.data() + image * call->kernels;
            if (call->width >= WIDE * V) line<WIDE, V>(*call, own, image, row);
            else if (call->width >= V) line<1, V>(*call, own, image, row);
            else line<1, 1>(*call, own, image, row);
        }
}
