// Activations in blocks of WIDE positions, (C, WIDE): a vector holds one channel of many
// positions. Passes need no sums across a vector then, products no padded channels, and a
// block stays in the nearest cache.
//
// Letters: C channels, D width, M width of the MLP, B blocks.
#pragma once

#include "products.h"

// Rows of C channels to blocks; positions beyond `count` become zeros.
template <class E>
static void to_blocks(const E* from, long from_row, long count, long blocks, long C,
                      float* to_BCW) {
    alignas(64) float square[LANES * LANES] = {}, turned[LANES * LANES];
    for (long at = 0; at < blocks * WIDE; at += LANES)
        for (long c = 0; c < C; c += LANES) {
            long rows = at < count ? count - at : 0, channels = C - c;
            if (rows > LANES) rows = LANES;
            if (channels > LANES) channels = LANES;
            for (long r = 0; r < rows; r++)
                widen_row(from + (at + r) * from_row + c, channels, square + r * LANES);
            transpose_square(square, LANES, rows, turned, LANES);
            float* to = to_BCW + (at / WIDE * C + c) * WIDE + at % WIDE;
            for (long r = 0; r < channels; r++)
                store(to + r * WIDE, load(turned + r * LANES));
        }
}

template <class E>
static void from_blocks(const float* from_BCW, long count, long C, E* to, long to_row) {
    alignas(64) float turned[LANES * LANES];
    for (long at = 0; at < count; at += LANES)
        for (long c = 0; c < C; c += LANES) {
            long channels = C - c < LANES ? C - c : LANES;
            transpose_square(from_BCW + (at / WIDE * C + c) * WIDE + at % WIDE, WIDE,
                             channels, turned, LANES);
            for (long r = 0; r < LANES && at + r < count; r++) {
                E* row = to + (at + r) * to_row + c;
#pragma omp simd
                for (long i = 0; i < channels; i++) put(turned[r * LANES + i], row[i]);
            }
        }
}

// Channels in whole vectors.
static inline long padded(long C) { return (C + LANES - 1) / LANES * LANES; }

// Blocks to rows, as the right factor of a product whose sums run over positions:
// columns of two vectors, and a last one of one vector if need be. Channels are filled up
// with zeros to whole vectors.
static void to_columns(const float* from_BCW, long blocks, long C, float* to) {
    long positions = blocks * WIDE;
    for (long c = 0; c < padded(C); c += LANES) {
        long pair = c / WIDE * WIDE, width = padded(C) - pair >= WIDE ? WIDE : LANES;
        for (long at = 0; at < positions; at += LANES)
            transpose_square(from_BCW + (at / WIDE * C + c) * WIDE + at % WIDE, WIDE,
                             C - c < LANES ? C - c : LANES,
                             to + pair * positions + at * width + c - pair, width);
    }
}

// sum (E, padded D), in columns, += the sum over positions of g_BEW and the rows that
// `to_columns` made.
static void add_outer(long E, long D, long blocks, const float* g_BEW,
                      const float* columns, float* sum) {
    Factor left{g_BEW, WIDE, 1, E * WIDE};
    for (long d = 0; d < padded(D); d += WIDE, columns += blocks * WIDE * WIDE) {
        if (padded(D) - d >= WIDE)
            product<2>(E, WIDE, left, columns, sum + d * E, true, blocks, WIDE * WIDE);
        else
            product<1>(E, WIDE, left, columns, sum + d * E, true, blocks, WIDE * LANES);
    }
}

// to (E, D) += such a sum.
template <class T>
static void add_sum(const float* sum, long E, long D, T* to) {
    for (long d = 0; d < D; d++) {
        long pair = d / WIDE * WIDE, width = padded(D) - pair >= WIDE ? WIDE : LANES;
        const float* from = sum + pair * E + d - pair;
        for (long e = 0; e < E; e++)
            put(widen(to[e * D + d]) + from[e * width], to[e * D + d]);
    }
}

// to_D += such sums as `block_norm_backward` makes: a vector a channel.
template <class T>
static void add_vectors(const float* sum_DV, long D, T* to_D) {
    for (long d = 0; d < D; d++) {
        float sum = 0.0f;
        for (int i = 0; i < LANES; i++) sum += sum_DV[d * LANES + i];
        put(widen(to_D[d]) + sum, to_D[d]);
    }
}

// out = x / rms(x) * gain; rate_W keeps 1 / rms.
static void block_norm(const float* x_DW, const float* gain_D, long D, float epsilon,
                       float* rate_W, float* out_DW) {
    for (long w = 0; w < WIDE; w += LANES) {
        Vector square{};
        for (long d = 0; d < D; d++) {
            Vector x = load(x_DW + d * WIDE + w);
            square += x * x;
        }
        store(rate_W + w, square / (float)D + epsilon);
    }
#pragma omp simd
    for (long w = 0; w < WIDE; w++) rate_W[w] = 1.0f / std::sqrt(rate_W[w]);
    for (long d = 0; d < D; d++)
        for (long w = 0; w < WIDE; w += LANES)
            store(out_DW + d * WIDE + w,
                  load(x_DW + d * WIDE + w) * load(rate_W + w) * gain_D[d]);
}

// out_DW += the gradient for x of `block_norm`; sum_DV (a vector a channel) += that of the
// gain, which still has to be summed over the vector. normed_DW: its output once more.
static void block_norm_backward(const float* x_DW, const float* gain_D,
                                const float* rate_W, const float* grad_DW, long D,
                                float* out_DW, float* sum_DV, float* normed_DW) {
    for (long w = 0; w < WIDE; w += LANES) {
        Vector rate = load(rate_W + w), along{};
        for (long d = 0; d < D; d++)
            along += load(grad_DW + d * WIDE + w) * gain_D[d] * load(x_DW + d * WIDE + w);
        along *= rate * rate / (float)D;
        for (long d = 0; d < D; d++) {
            long at = d * WIDE + w;
            Vector unit = load(x_DW + at) * rate, grad = load(grad_DW + at);
            store(normed_DW + at, unit * gain_D[d]);
            store(sum_DV + d * LANES, load(sum_DV + d * LANES) + grad * unit);
            store(out_DW + at, load(out_DW + at) + grad * gain_D[d] * rate - unit * along);
        }
    }
}

// SiLU of the first M channels times the others.
static void block_gate(const float* both_MW, long M, float* out_MW) {
    for (long at = 0; at < M * WIDE; at += LANES) {
        Vector gate = load(both_MW + at), up = load(both_MW + M * WIDE + at);
        store(out_MW + at, gate * up / (1.0f + fast_exp(-gate)));
    }
}

// Gradient of `block_gate`, and its output once more.
static void block_gate_backward(const float* both_MW, const float* grad_MW, long M,
                                float* grad_both_MW, float* out_MW) {
    for (long at = 0; at < M * WIDE; at += LANES) {
        Vector gate = load(both_MW + at), up = load(both_MW + M * WIDE + at);
        Vector grad = load(grad_MW + at), share = 1.0f / (1.0f + fast_exp(-gate));
        Vector silu = gate * share;
        store(out_MW + at, silu * up);
        store(grad_both_MW + M * WIDE + at, grad * silu);
        store(grad_both_MW + at, grad * up * (share + silu * (1.0f - share)));
    }
}
