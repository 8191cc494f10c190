// Causal attention with rotary positions, on blocks of positions.
//
// Letters: S sequences, T time, H attention heads, C channels of a head, D = H C, B blocks.
#pragma once

#include "blocks.h"

// How sequences lie in blocks. Short ones share a block, one after another; a group is
// the sequences of one block, or one longer sequence in several.
struct Layout {
    long S, T, together, groups, blocks;
    Layout(long S, long T) : S(S), T(T) {
        together = T < WIDE ? WIDE / T : 1;
        groups = (S + together - 1) / together;
        blocks = (together * T + WIDE - 1) / WIDE;
    }
    long sequences(long group) const {
        long left = S - group * together;
        return left < together ? left : together;
    }
    long positions(long group) const { return sequences(group) * T; }
};

// Rotation tables in blocks, and what no position sees within its own block.
struct Tables {
    Scratch memory;
    float *cos_BCW, *sin_BCW;  // C / 2 channels: angles of the second half are the same
    float *hidden_JI, *hidden_IJ;  // 0, or -1e30 where key j is hidden from query i

    // cos_TC and sin_TC have C channels, the first half of sin_TC with a minus.
    Tables(const Layout& layout, long C, const float* cos_TC, const float* sin_TC)
        : memory(layout.blocks * C * WIDE + 2 * WIDE * WIDE) {
        long half = C / 2;
        cos_BCW = memory.take(layout.blocks * half * WIDE);
        sin_BCW = memory.take(layout.blocks * half * WIDE);
        hidden_JI = memory.take(WIDE * WIDE);
        hidden_IJ = memory.take(WIDE * WIDE);
        for (long at = 0; at < layout.blocks * WIDE; at++)
            for (long c = 0; c < half; c++) {
                long to = (at / WIDE * half + c) * WIDE + at % WIDE;
                cos_BCW[to] = cos_TC[at % layout.T * C + c];
                sin_BCW[to] = -sin_TC[at % layout.T * C + c];
            }
        for (long j = 0; j < WIDE; j++)
            for (long i = 0; i < WIDE; i++) {
                bool apart = layout.together > 1 && j / layout.T != i / layout.T;
                hidden_JI[j * WIDE + i] = hidden_IJ[i * WIDE + j] =
                    apart || j > i ? -1e30f : 0.0f;
            }
    }

    // Turns the channels of one head in one block, forth (direction 1) or back (-1).
    void rotate(float* x_CW, long block, long C, float direction, float scale) const {
        long half = C / 2 * WIDE;
        const float *cos = cos_BCW + block * half, *sin = sin_BCW + block * half;
        for (long at = 0; at < half; at += LANES) {
            Vector a = load(x_CW + at), b = load(x_CW + half + at);
            Vector c = load(cos + at) * scale, s = load(sin + at) * (scale * direction);
            store(x_CW + at, a * c - b * s);
            store(x_CW + half + at, b * c + a * s);
        }
    }
};

// One head of one group: block 0 of its queries (rotated, scaled), keys (rotated) and
// values; block b lies b * jump behind.
struct Head {
    const float *q, *k, *v;
    long jump, C, blocks;
    bool myopic;  // keys and values get gradients from their own position alone
};

// Outputs, and of each query its largest score and 1 / (sum of exponentials).
// `weight` has room for blocks * WIDE keys x WIDE queries.
static void attend_head(const Head& head, const Tables& tables, float* mixed,
                        long mixed_jump, float* most_T, float* inverse_T,
                        float* weight) {
    long C = head.C, square = WIDE * WIDE;
    for (long i = 0; i < head.blocks; i++) {
        const float* q = head.q + i * head.jump;
        for (long j = 0; j <= i; j++)
            product(WIDE, C, Factor{head.k + j * head.jump, 1, WIDE, 0}, q,
                    weight + j * square, false);
        float* last = weight + i * square;
        for (long at = 0; at < square; at += LANES)
            store(last + at, load(last + at) + load(tables.hidden_JI + at));
        long count = (i + 1) * square;
        for (long w = 0; w < WIDE; w += LANES) {
            Vector most = load(weight + w), total{};
            for (long at = w; at < count; at += WIDE)
                most = larger(load(weight + at), most);
            for (long at = w; at < count; at += WIDE) {
                Vector share = fast_exp(load(weight + at) - most);
                store(weight + at, share);
                total += share;
            }
            store(most_T + i * WIDE + w, most);
            store(inverse_T + i * WIDE + w, 1.0f / total);
        }
        float* out = mixed + i * mixed_jump;
        product(C, WIDE, Factor{head.v, WIDE, 1, head.jump}, weight, out, false, i + 1,
                square);
        for (long c = 0; c < C; c++)
            for (long w = 0; w < WIDE; w += LANES)
                store(out + c * WIDE + w,
                      load(out + c * WIDE + w) * load(inverse_T + i * WIDE + w));
    }
}

// Gradients of `attend_head` for rotated, scaled queries, rotated keys, and values, each
// like the head's own; zero at first. along_T: the gradient times the output, summed over
// channels. `space` has room for three squares.
static void attend_head_backward(const Head& head, const Tables& tables,
                                 const float* most_T, const float* inverse_T,
                                 const float* grad, long grad_jump,
                                 const float* along_T, float* dq, float* dk, float* dv,
                                 float* space) {
    long C = head.C, square = WIDE * WIDE;
    float *share = space, *slope = space + square, *turned = space + 2 * square;
    for (long j = 0; j < head.blocks; j++) {
        long at_j = j * head.jump;
        const float *k = head.k + at_j, *v = head.v + at_j;
        for (long i = j; i < head.blocks; i++) {  // queries x keys
            const float *q = head.q + i * head.jump, *g = grad + i * grad_jump;
            product(WIDE, C, Factor{q, 1, WIDE, 0}, k, share, false);
            product(WIDE, C, Factor{g, 1, WIDE, 0}, v, slope, false);
            if (i == j)
                for (long at = 0; at < square; at += LANES)
                    store(share + at, load(share + at) + load(tables.hidden_IJ + at));
            for (long r = 0; r < WIDE; r++) {
                long t = i * WIDE + r;
                for (long at = r * WIDE; at < (r + 1) * WIDE; at += LANES) {
                    Vector p = fast_exp(load(share + at) - most_T[t]) * inverse_T[t];
                    store(share + at, p);
                    store(slope + at, p * (load(slope + at) - along_T[t]));
                }
            }
            if (!head.myopic) {
                product(C, WIDE, Factor{g, WIDE, 1, 0}, share, dv + at_j, true);
                product(C, WIDE, Factor{q, WIDE, 1, 0}, slope, dk + at_j, true);
            } else if (i == j) {
                for (long c = 0; c < C; c++)
                    for (long w = 0; w < WIDE; w++) {
                        long own = w * WIDE + w, at = c * WIDE + w;
                        dv[at_j + at] = g[at] * share[own];
                        dk[at_j + at] = q[at] * slope[own];
                    }
            }
            for (long r = 0; r < WIDE; r += LANES)
                for (long c = 0; c < WIDE; c += LANES)
                    transpose_square(slope + r * WIDE + c, WIDE, LANES,
                                     turned + c * WIDE + r, WIDE);
            product(C, WIDE, Factor{k, WIDE, 1, 0}, turned, dq + i * head.jump, true);
        }
    }
}
