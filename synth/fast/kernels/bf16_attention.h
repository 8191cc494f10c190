// Causal attention with rotary positions on bf16 rows: its products have bf16 factors,
// everything between them is fp32. Scores lie keys by queries: a vector holds one key of
// many queries, and no square of scores is ever transposed.
//
// Letters: S sequences, T time, H heads, C channels of a head, D = H C, W WIDE positions,
// N positions and P channels in whole blocks; rows of pairs end in 2.
#pragma once

#include <initializer_list>

#include "bf16_products.h"
#include "rows.h"

#ifdef BF16_PRODUCTS

constexpr float LOG2_E = 1.44269504f;

// Turns the channels of one position, forth (direction 1) or back (-1).
template <class E>
static inline void rotate_row(const E* from, const float* cos_C, const float* sin_C,
                              long C, float direction, float scale, Half* to) {
    long half = C / 2;
    for (long c = 0; c < half; c += LANES) {
        __mmask16 mask = first(half - c);
        Vector a = load_first(from + c, mask), b = load_first(from + half + c, mask);
        Vector cos = load_first(cos_C + c, mask) * scale;
        Vector sin = load_first(sin_C + c, mask) * (-scale * direction);
        store_first(a * cos - b * sin, to + c, mask);
        store_first(b * cos + a * sin, to + half + c, mask);
    }
}

// Sizes of the heads of a sequence, and the ways between its rows and rooms that are filled
// up with zeros to whole blocks. Rows of queries, keys and values are `row` apart, those of
// outputs `mixed_row`.
struct HeadRows {
    long T, H, C, D, N, P, row, mixed_row;
    const float *cos_TC, *sin_TC;

    HeadRows(long T, long H, long C, long row, long mixed_row, const float* cos_TC,
             const float* sin_TC)
        : T(T), H(H), C(C), D(H * C), N((T + WIDE - 1) / WIDE * WIDE),
          P((C + DEPTH - 1) / DEPTH * DEPTH), row(row), mixed_row(mixed_row),
          cos_TC(cos_TC), sin_TC(sin_TC) {}

    void read(const Half* from, long from_row, Half* to_NP) const {
        for (long t = 0; t < T; t++)
            std::memcpy(to_NP + t * P, from + t * from_row, 2 * C);
    }
    void read_rotated(const Half* from, float scale, Half* to_NP) const {
        for (long t = 0; t < T; t++)
            rotate_row(from + t * row, cos_TC + t * C, sin_TC + t * C, C, 1.0f, scale,
                       to_NP + t * P);
    }
    void write_rotated_back(const float* from_NP, float scale, Half* to) const {
        for (long t = 0; t < T; t++)
            rotate_row(from_NP + t * P, cos_TC + t * C, sin_TC + t * C, C, -1.0f, scale,
                       to + t * row);
    }
    float scale() const { return 1.0f / std::sqrt((float)C); }
};

// -1e30 where key j of a block is hidden from 16 queries of it, of which w is the first.
static inline Vector hidden(long j, long w) {
    __mmask16 later = j > w ? first(j - w) : 0;
    return (Vector)_mm512_maskz_mov_ps(later, _mm512_set1_ps(-1e30f));
}

// Of scores (keys x queries) of the block of queries at i: exponentials as pairs, the
// largest score in units of ln 2, and 1 / (sum of exponentials).
static void softmax(float* score_NW, long i, Half* share_NW2, float* most_W,
                    float* inverse_W) {
    constexpr int PARTS_W = WIDE / LANES;
    long seen = i + WIDE;
    Vector most[PARTS_W], total[PARTS_W] = {};
    for (long w = 0; w < PARTS_W; w++) {
        for (long j = 0; j < WIDE; j++) {
            float* at = score_NW + (i + j) * WIDE + w * LANES;
            store(at, load(at) + hidden(j, w * LANES));
        }
        most[w] = load(score_NW + w * LANES);
    }
    for (long j = 1; j < seen; j++)
        for (long w = 0; w < PARTS_W; w++)
            most[w] = larger(load(score_NW + j * WIDE + w * LANES), most[w]);
    for (long w = 0; w < PARTS_W; w++) most[w] *= LOG2_E;
    for (long j = 0; j < seen; j += 2)
        for (long w = 0; w < PARTS_W; w++) {
            const float* at = score_NW + j * WIDE + w * LANES;
            Vector even = fast_exp2(load(at) * LOG2_E - most[w]);
            Vector odd = fast_exp2(load(at + WIDE) * LOG2_E - most[w]);
            total[w] += even + odd;
            store_pairs(round_two(even, odd), share_NW2 + j * WIDE + 2 * w * LANES);
        }
    for (long w = 0; w < PARTS_W; w++) {
        store(most_W + w * LANES, most[w]);
        store(inverse_W + w * LANES, 1.0f / total[w]);
    }
}

// Attention of one sequence after another, each with all its heads.
struct Attend : HeadRows {
    Scratch memory;
    Half *q_NP, *k_NP, *v_NP, *q_PN2, *v_NP2, *v_PN, *share_NW2;
    float *score_NW, *mixed_PW;

    explicit Attend(const HeadRows& rows)
        : HeadRows(rows), memory(3 * N * P + (2 * N + P) * WIDE) {
        auto take = [&](long halves) { return (Half*)memory.take(halves / 2); };
        for (Half** room : {&q_NP, &k_NP, &v_NP, &q_PN2, &v_NP2, &v_PN})
            *room = take(N * P);
        share_NW2 = take(N * WIDE);
        score_NW = memory.take(N * WIDE), mixed_PW = memory.take(P * WIDE);
    }

    // softmax_H2N keeps what the backward pass needs.
    void operator()(const Half* qkv, Half* mixed, float* softmax_H2N) const {
        for (long h = 0; h < H; h++)
            one_head(qkv + h * C, mixed + h * C, softmax_H2N + 2 * h * N);
    }

    void one_head(const Half* qkv, Half* mixed, float* most_N) const {
        float* inverse_N = most_N + N;
        read_rotated(qkv, scale(), q_NP);
        read_rotated(qkv + D, 1.0f, k_NP);
        read(qkv + 2 * D, row, v_NP);
        turn_pairs(q_NP, P, N, P / 2, q_PN2, 2 * N);
        pair_rows(v_NP, P, N, P, v_NP2, 2 * P);
        turn_pairs(v_NP2, 2 * P, N / 2, P, v_PN, N);
        for (long i = 0; i < N; i += WIDE) {
            long seen = i + WIDE;
            bf16_product(seen, WIDE, P, k_NP, P, q_PN2 + 2 * i, 2 * N, score_NW, WIDE);
            softmax(score_NW, i, share_NW2, most_N + i, inverse_N + i);
            bf16_product(P, WIDE, seen, v_PN, N, share_NW2, 2 * WIDE, mixed_PW, WIDE);
            for (long at = 0; at < C * WIDE; at += LANES) {
                Vector inverse = load(inverse_N + i + at % WIDE);
                store(mixed_PW + at, load(mixed_PW + at) * inverse);
            }
            from_blocks(mixed_PW, T - i < WIDE ? T - i : WIDE, C, mixed + i * mixed_row,
                        mixed_row);
        }
    }
};

// Its gradient; `myopic` as in `Head`.
struct AttendBackward : HeadRows {
    bool myopic;
    Scratch memory;
    Half *q_NP, *k_NP, *v_NP, *g_NP, *q_PN2, *g_PN2, *q_NP2, *k_NP2, *g_NP2, *k_PN;
    Half *share_WN, *slope_WN, *slope_NN2;
    float *dq_NP, *dk_NP, *dv_NP, *along_N, *dq_PW, *share_WW, *slope_WW;

    AttendBackward(const HeadRows& rows, bool myopic)
        : HeadRows(rows), myopic(myopic),
          memory(8 * N * P + N * (1 + N / 2 + WIDE) + (P + 2 * WIDE) * WIDE) {
        auto take = [&](long halves) { return (Half*)memory.take(halves / 2); };
        for (Half** room : {&q_NP, &k_NP, &v_NP, &g_NP, &q_PN2, &g_PN2, &q_NP2, &k_NP2,
                            &g_NP2, &k_PN})
            *room = take(N * P);
        share_WN = take(WIDE * N), slope_WN = take(WIDE * N), slope_NN2 = take(N * N);
        dq_NP = memory.take(N * P), dk_NP = memory.take(N * P);
        dv_NP = memory.take(N * P), along_N = memory.take(N);
        dq_PW = memory.take(P * WIDE), share_WW = memory.take(WIDE * WIDE);
        slope_WW = memory.take(WIDE * WIDE);
    }

    void operator()(const Half* qkv, const Half* mixed, const float* softmax_H2N,
                    const Half* grad, Half* to_qkv) const {
        for (long h = 0; h < H; h++)
            one_head(qkv + h * C, mixed + h * C, softmax_H2N + 2 * h * N, grad + h * C,
                     to_qkv + h * C);
    }

    void one_head(const Half* qkv, const Half* mixed, const float* most_N,
                  const Half* grad, Half* to_qkv) const {
        read_rotated(qkv, scale(), q_NP);
        read_rotated(qkv + D, 1.0f, k_NP);
        read(qkv + 2 * D, row, v_NP);
        read(grad, mixed_row, g_NP);
        turn_pairs(q_NP, P, N, P / 2, q_PN2, 2 * N);
        turn_pairs(g_NP, P, N, P / 2, g_PN2, 2 * N);
        pair_rows(q_NP, P, N, P, q_NP2, 2 * P);
        pair_rows(k_NP, P, N, P, k_NP2, 2 * P);
        pair_rows(g_NP, P, N, P, g_NP2, 2 * P);
        turn_pairs(k_NP2, 2 * P, N / 2, P, k_PN, N);
        for (long t = 0; t < T; t++) {
            Vector sum{};
            for (long c = 0; c < C; c += LANES)
                sum += load_first(grad + t * mixed_row + c, first(C - c)) *
                       load_first(mixed + t * mixed_row + c, first(C - c));
            along_N[t] = _mm512_reduce_add_ps((__m512)sum);
        }
        for (long j = 0; j < N; j += WIDE) {
            for (long i = j; i < N; i += WIDE) slopes(i, j, most_N);
            if (myopic)
                for (long r = 0; r < WIDE; r++)
                    for (long i = j; i < N; i++)
                        if (i != j + r)
                            share_WN[r * N + i] = slope_WN[r * N + i] = Half{0};
            bf16_product(WIDE, P, N - j, share_WN + j, N, g_NP2 + j * P, 2 * P,
                         dv_NP + j * P, P);
            bf16_product(WIDE, P, N - j, slope_WN + j, N, q_NP2 + j * P, 2 * P,
                         dk_NP + j * P, P);
        }
        for (long i = 0; i < N; i += WIDE) {
            bf16_product(P, WIDE, i + WIDE, k_PN, N, slope_NN2 + i * N, 2 * WIDE, dq_PW,
                         WIDE);
            for (long w = 0; w < WIDE; w += LANES)
                for (long c = 0; c < P; c += LANES)
                    transpose_square(dq_PW + c * WIDE + w, WIDE, LANES,
                                     dq_NP + (i + w) * P + c, P);
        }
        write_rotated_back(dq_NP, scale(), to_qkv);
        write_rotated_back(dk_NP, 1.0f, to_qkv + D);
        for (long t = 0; t < T; t++)
            for (long c = 0; c < C; c += LANES)
                store_first(load(dv_NP + t * P + c), to_qkv + t * row + 2 * D + c,
                            first(C - c));
    }

    // Of the block of keys at j and that of queries at i: shares, and slopes of the scores,
    // keys by queries; the slopes once more as pairs, in panels of WIDE queries.
    void slopes(long i, long j, const float* most_N) const {
        const float* inverse_N = most_N + N;
        bf16_product(WIDE, WIDE, P, k_NP + j * P, P, q_PN2 + 2 * i, 2 * N, share_WW, WIDE);
        bf16_product(WIDE, WIDE, P, v_NP + j * P, P, g_PN2 + 2 * i, 2 * N, slope_WW, WIDE);
        for (long w = 0; w < WIDE; w += LANES) {
            Vector most = load(most_N + i + w), inverse = load(inverse_N + i + w);
            Vector along = load(along_N + i + w);
            Half *share_N = share_WN + i + w, *slope_N = slope_WN + i + w;
            Half* pairs = slope_NN2 + i * N + j * WIDE + 2 * w;
            for (long r = 0; r < WIDE; r += 2) {
                Vector share[2], slope[2];
                for (long odd = 0; odd < 2; odd++) {
                    long at = (r + odd) * WIDE + w;
                    Vector score = load(share_WW + at) * LOG2_E - most;
                    if (i == j) score += hidden(r + odd, w);
                    share[odd] = fast_exp2(score) * inverse;
                    slope[odd] = share[odd] * (load(slope_WW + at) - along);
                }
                __m512i slopes = round_two(slope[0], slope[1]);
                store_rows(round_two(share[0], share[1]), share_N, share_N + N);
                store_rows(slopes, slope_N, slope_N + N);
                store_pairs(slopes, pairs);
                share_N += 2 * N, slope_N += 2 * N, pairs += 2 * WIDE;
            }
        }
    }
};

// Like `attend`.
static void bf16_attend(const Half* qkv_ST3HC, const float* cos_TC, const float* sin_TC,
                        Half* mixed_STHC, float* softmax_SH2N, long S, long T, long H,
                        long C) {
    TileShapes shapes;
    long D = H * C;
    Attend attend(HeadRows(T, H, C, 3 * D, D, cos_TC, sin_TC));
    for (long s = 0; s < S; s++)
        attend(qkv_ST3HC + 3 * s * T * D, mixed_STHC + s * T * D,
               softmax_SH2N + s * H * 2 * attend.N);
}

// Like `attend_backward`.
static void bf16_attend_backward(const Half* qkv_ST3HC, const float* cos_TC,
                                 const float* sin_TC, const Half* mixed_STHC,
                                 const float* softmax_SH2N, const Half* grad_STHC,
                                 Half* grad_qkv_ST3HC, long S, long T, long H, long C,
                                 long myopic) {
    TileShapes shapes;
    long D = H * C;
    AttendBackward backward(HeadRows(T, H, C, 3 * D, D, cos_TC, sin_TC), myopic != 0);
    for (long s = 0; s < S; s++) {
        long at = s * T * D;
        backward(qkv_ST3HC + 3 * at, mixed_STHC + at,
                 softmax_SH2N + s * H * 2 * backward.N, grad_STHC + at,
                 grad_qkv_ST3HC + 3 * at);
    }
}
#endif
