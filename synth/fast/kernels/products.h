// Matrix products of small matrices, with sums held in registers.
//
// The right factor and the result lie in rows of one or two vectors. The left factor may
// lie in any order, since it is read number by number. Each number of the result is a sum
// in the order of k: it depends on no other number, nor on where the operands lie.
#pragma once

#include "vectors.h"

// The left factor: number (m, k) of part s is at[m * row + k * step + s * jump].
struct Factor {
    const float* at;
    long row, step, jump;
};

// out[m][0..W vectors) (+)= sum over parts and k of a[m][k] b[k][0..W vectors).
template <int M, int W>
static inline void tile(long parts, long depth, Factor a, const float* b, long b_jump,
                        float* out, bool add) {
    Vector sum[M][W];
    // Loops that are not unrolled at once would move the sums through memory.
#pragma GCC unroll 12
    for (int m = 0; m < M; m++)
#pragma GCC unroll 2
        for (int w = 0; w < W; w++)
            sum[m][w] = add ? load(out + (m * W + w) * LANES) : Vector{};
    for (long part = 0; part < parts; part++) {
        const float *left = a.at + part * a.jump, *right = b + part * b_jump;
        for (long k = 0; k < depth; k++) {
            Vector columns[W];
            for (int w = 0; w < W; w++) columns[w] = load(right + w * LANES);
#pragma GCC unroll 12
            for (int m = 0; m < M; m++) {
                float factor = left[m * a.row];
                for (int w = 0; w < W; w++) sum[m][w] += columns[w] * factor;
            }
            left += a.step;
            right += W * LANES;
        }
    }
#pragma GCC unroll 12
    for (int m = 0; m < M; m++)
#pragma GCC unroll 2
        for (int w = 0; w < W; w++) store(out + (m * W + w) * LANES, sum[m][w]);
}

template <int M, int W>
static inline void tiles(long& rows, long parts, long depth, Factor& a, const float* b,
                         long b_jump, float*& out, bool add) {
    for (; rows >= M; rows -= M) {
        tile<M, W>(parts, depth, a, b, b_jump, out, add);
        a.at += M * a.row;
        out += M * W * LANES;
    }
}

// The same for any number of rows; by default one part, and two vectors.
template <int W = 2>
static void product(long rows, long depth, Factor a, const float* b, float* out,
                    bool add, long parts = 1, long b_jump = 0) {
    tiles<ROWS, W>(rows, parts, depth, a, b, b_jump, out, add);
    if (ROWS > 8) tiles<8, W>(rows, parts, depth, a, b, b_jump, out, add);
    tiles<4, W>(rows, parts, depth, a, b, b_jump, out, add);
    tiles<2, W>(rows, parts, depth, a, b, b_jump, out, add);
    tiles<1, W>(rows, parts, depth, a, b, b_jump, out, add);
}
