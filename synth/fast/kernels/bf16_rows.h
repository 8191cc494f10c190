// What a decoder layer on bf16 rows is made of: its sizes and memory, and passes over rows.
// Every width is filled up with zeros to whole tiles.
//
// Letters: as in layers.h; R rows of a group; P, Q and U are D, M and 3 D in whole tiles.
#pragma once

#include "bf16_attention.h"
#include "layers.h"

#ifdef BF16_PRODUCTS

constexpr long GROUP_ROWS = 256;

struct TileSizes {
    LayerShape s;
    long together, groups, R, P, Q, U;

    explicit TileSizes(const LayerShape& shape) : s(shape) {
        together = s.T < GROUP_ROWS ? GROUP_ROWS / s.T : 1;
        if (together > s.S) together = s.S;
        groups = (s.S + together - 1) / together;
        R = whole(together * s.T), P = whole(s.D), Q = whole(s.M), U = whole(3 * s.D);
    }
    static long whole(long count) { return (count + DEPTH - 1) / DEPTH * DEPTH; }
    long sequences(long group) const {
        long left = s.S - group * together;
        return left < together ? left : together;
    }
    HeadRows heads(const float* cos_TC, const float* sin_TC) const {
        return HeadRows(s.T, s.H, s.D / s.H, U, P, cos_TC, sin_TC);
    }
};

// Activations of a group in one layer, for the backward pass.
struct TileActivations {
    float *x, *rate, *softmax, *y, *mlp_rate;
    Half *qkv, *mixed, *both;

    static long count(const TileSizes& z) {
        long positions = TileSizes::whole(z.s.T);
        return z.R * (2 * z.P + 2 + z.U / 2 + z.P / 2 + z.Q) +
               z.together * z.s.H * 2 * positions;
    }
    TileActivations(float* at, const TileSizes& z) {
        auto take = [&](long floats) {
            float* taken = at;
            at += floats;
            return taken;
        };
        x = take(z.R * z.P), y = take(z.R * z.P);
        qkv = (Half*)take(z.R * z.U / 2), mixed = (Half*)take(z.R * z.P / 2);
        both = (Half*)take(z.R * z.Q);
        rate = take(z.R), mlp_rate = take(z.R), softmax = at;
    }
};

// Gains and right factors of one layer: the matrices, or their transposes.
struct TileWeights {
    Scratch memory;
    float *gain, *mlp_gain;
    Half *rows, *qkv, *out, *gate_up, *down;

    explicit TileWeights(const TileSizes& z)
        : memory(2 * z.P + z.P * (z.U + z.P + 3 * z.Q) / 2 + z.P * (z.U + 2 * z.Q) / 2) {
        gain = memory.take(z.P), mlp_gain = memory.take(z.P);
        auto take = [&](long halves) { return (Half*)memory.take(halves / 2); };
        qkv = take(z.U * z.P), out = take(z.P * z.P), gate_up = take(2 * z.Q * z.P);
        down = take(z.P * z.Q), rows = take(z.P * (z.U + 2 * z.Q));
    }

    void read(const TileSizes& z, const Half* const* from, long lane, bool transposed) {
        long D = z.s.D, M = z.s.M;
        auto part = [&](int number) { return from[number] + lane * z.s.stride; };
        widen_row(part(0), D, gain);
        widen_row(part(3), D, mlp_gain);
        auto factor = [&](const Half* w, long E, long D, long wide, long deep, Half* to,
                          const Half* more = nullptr) {
            std::memset(rows, 0, 2 * wide * deep);
            for (long e = 0; e < E; e++) {
                std::memcpy(rows + e * deep, w + e * D, 2 * D);
                if (more) std::memcpy(rows + (wide / 2 + e) * deep, more + e * D, 2 * D);
            }
            transposed ? turn_panels(rows, deep, wide, to)
                       : pair_panels(rows, wide, deep, to);
        };
        factor(part(1), 3 * D, D, z.U, z.P, qkv);
        factor(part(2), D, D, z.P, z.P, out);
        factor(part(4), M, D, 2 * z.Q, z.P, gate_up, part(4) + M * D);
        factor(part(5), D, M, z.P, z.Q, down);
    }
};

// Rooms for one group that no call reads again.
struct TileSpace {
    Scratch memory;
    Half *normed, *inner, *rounded, *to_both, *to_mixed, *to_qkv, *left_PR, *panel_RW;
    float *to_normed, *stripe;

    explicit TileSpace(const TileSizes& z)
        : memory(z.R * (3 * z.P + z.U / 2 + 3 * z.Q / 2 + DEPTH / 2) + DEPTH * z.Q) {
        auto take = [&](long halves) { return (Half*)memory.take(halves / 2); };
        normed = take(z.R * z.P), rounded = take(z.R * z.P), to_mixed = take(z.R * z.P);
        left_PR = take(z.R * z.P), inner = take(z.R * z.Q), to_both = take(z.R * 2 * z.Q);
        to_qkv = take(z.R * z.U), panel_RW = take(z.R * DEPTH);
        to_normed = memory.take(z.R * z.P), stripe = memory.take(DEPTH * z.Q);
    }
};

static void round_rows(const float* from, long count, Half* to) {
    for (long at = 0; at < count; at += LANES) store_row(to_bf16(load(from + at)), to + at);
}

static inline Vector load_wide(const Half* from) { return load_first(from, first(LANES)); }

static inline float sum_of(Vector value) { return _mm512_reduce_add_ps((__m512)value); }

static void tile_norm(const TileSizes& z, const float* x_RP, const float* gain_P,
                      float* rate_R, Half* out_RP) {
    for (long r = 0; r < z.R; r++, x_RP += z.P, out_RP += z.P) {
        Vector square{};
        for (long c = 0; c < z.P; c += LANES) square += load(x_RP + c) * load(x_RP + c);
        float rate = 1.0f / std::sqrt(sum_of(square) / z.s.D + z.s.epsilon);
        rate_R[r] = rate;
        for (long c = 0; c < z.P; c += LANES)
            store_row(to_bf16(load(x_RP + c) * rate * load(gain_P + c)), out_RP + c);
    }
}

// grad_RP += the gradient for x of `tile_norm`; sum_P += that of the gain. normed_RP: the
// output once more.
static void tile_norm_backward(const TileSizes& z, const float* x_RP, const float* gain_P,
                               const float* rate_R, const float* to_normed_RP,
                               float* grad_RP, float* sum_P, Half* normed_RP) {
    for (long r = 0; r < z.R; r++) {
        const float *x = x_RP + r * z.P, *to_normed = to_normed_RP + r * z.P;
        float *grad = grad_RP + r * z.P, rate = rate_R[r];
        Vector products{};
        for (long c = 0; c < z.P; c += LANES)
            products += load(to_normed + c) * load(gain_P + c) * load(x + c);
        float along = sum_of(products) * rate * rate / z.s.D;
        for (long c = 0; c < z.P; c += LANES) {
            Vector unit = load(x + c) * rate, slope = load(to_normed + c);
            Vector gain = load(gain_P + c);
            store(grad + c, load(grad + c) + slope * gain * rate - unit * along);
            store(sum_P + c, load(sum_P + c) + slope * unit);
            store_row(to_bf16(unit * gain), normed_RP + r * z.P + c);
        }
    }
}

// To 6e-5 relative, a fiftieth of the rounding of bf16.
static inline Vector sigmoid(Vector x) {
    return (Vector)_mm512_rcp14_ps((__m512)(1.0f + fast_exp2(x * -LOG2_E)));
}

static void tile_gate(const TileSizes& z, const Half* both_R2Q, Half* out_RQ) {
    for (long r = 0; r < z.R; r++, both_R2Q += 2 * z.Q, out_RQ += z.Q)
        for (long c = 0; c < z.Q; c += LANES) {
            Vector gate = load_wide(both_R2Q + c), up = load_wide(both_R2Q + z.Q + c);
            store_row(to_bf16(gate * up * sigmoid(gate)), out_RQ + c);
        }
}

// The gradient of some rows of `tile_gate`, and its output once more.
static void tile_gate_backward(long rows, long Q, const Half* both, const float* grad,
                               Half* to_both, Half* out) {
    for (long r = 0; r < rows; r++, both += 2 * Q, to_both += 2 * Q, grad += Q, out += Q)
        for (long c = 0; c < Q; c += LANES) {
            Vector gate = load_wide(both + c), up = load_wide(both + Q + c);
            Vector slope = load(grad + c), share = sigmoid(gate), silu = gate * share;
            store_row(to_bf16(silu * up), out + c);
            store_row(to_bf16(slope * silu), to_both + Q + c);
            store_row(to_bf16(slope * up * (share + silu * (1.0f - share))), to_both + c);
        }
}

// sum (P x columns) += the sum over rows of left and right.
static void add_over_rows(const TileSizes& z, const Half* left_RP, const Half* right,
                          long columns, float* sum, const TileSpace& space) {
    Half *left_PR = space.left_PR, *panel_RW = space.panel_RW;
    for (long c = 0; c < z.P; c += DEPTH) {
        pair_rows(left_RP + c, z.P, z.R, DEPTH, panel_RW, 2 * DEPTH);
        turn_pairs(panel_RW, 2 * DEPTH, z.R / 2, DEPTH, left_PR + c * z.R, z.R);
    }
    for (long n = 0; n < columns; n += DEPTH) {
        pair_rows(right + n, columns, z.R, DEPTH, panel_RW, 2 * DEPTH);
        panel_product(z.P, DEPTH, z.R, left_PR, z.R, panel_RW, sum + n, columns, true);
    }
}

// Sums for the gradients of a layer; those of `qkv` and `gate_up` are transposed.
struct TileSums {
    Scratch memory;
    long count;
    float *gain, *mlp_gain, *qkv_PU, *out_PP, *gate_up_P2Q, *down_PQ;

    explicit TileSums(const TileSizes& z)
        : memory(z.P * (2 + z.U + z.P + 3 * z.Q)),
          count(z.P * (2 + z.U + z.P + 3 * z.Q)) {
        gain = memory.take(z.P), mlp_gain = memory.take(z.P);
        qkv_PU = memory.take(z.P * z.U), out_PP = memory.take(z.P * z.P);
        gate_up_P2Q = memory.take(z.P * 2 * z.Q), down_PQ = memory.take(z.P * z.Q);
    }

    // Adds them to the gradients and starts anew.
    void put_away(const TileSizes& z, Half* const* grads, long lane) {
        long D = z.s.D, M = z.s.M;
        auto part = [&](int number) { return grads[number] + lane * z.s.stride; };
        add_rows(gain, 0, 1, D, part(0));
        add_rows(mlp_gain, 0, 1, D, part(3));
        add_rows(out_PP, z.P, D, D, part(2));
        add_rows(down_PQ, z.Q, D, M, part(5));
        add_turned(qkv_PU, z.U, 3 * D, D, part(1));
        add_turned(gate_up_P2Q, 2 * z.Q, M, D, part(4));
        add_turned(gate_up_P2Q + z.Q, 2 * z.Q, M, D, part(4) + M * D);
        std::memset(memory.data, 0, count * 4);
    }

    static void add_rows(const float* sum, long row, long E, long D, Half* to_ED) {
        for (long e = 0; e < E; e++)
            for (long d = 0; d < D; d += LANES) {
                __mmask16 mask = first(D - d);
                Half* to = to_ED + e * D + d;
                store_first(load_first(sum + e * row + d, mask) + load_first(to, mask), to,
                            mask);
            }
    }
    static void add_turned(const float* sum_DE, long row, long E, long D, Half* to_ED) {
        alignas(64) float square[LANES * LANES];
        for (long d = 0; d < D; d += LANES)
            for (long e = 0; e < E; e += LANES) {
                transpose_square(sum_DE + d * row + e, row, LANES, square, LANES);
                long count = E - e < LANES ? E - e : LANES;
                for (long i = 0; i < count; i++) {
                    Half* to = to_ED + (e + i) * D + d;
                    __mmask16 mask = first(D - d);
                    store_first(load(square + i * LANES) + load_first(to, mask), to, mask);
                }
            }
    }
};
#endif
