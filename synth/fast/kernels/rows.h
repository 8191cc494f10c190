// Passes over rows of activations, between products that torch does.
//
// Letters: K lanes, N positions of a lane, D width, M width of the MLP, V vocabulary, C
// channels of a head, S sequences, T time, H heads. All tensors are contiguous, the last
// letter fastest.
#pragma once

#include "attention.h"

// out = x / rms(x) * gain; rate_KN keeps 1 / rms. Gains of lanes are `stride` apart.
template <class E>
static void unit_rms(const E* x, const E* gain_KD, E* out, float* rate_KN, long stride,
                     long K, long N, long D, float epsilon) {
    for (long r = 0; r < K * N; r++) {
        const E *from = x + r * D, *gain = gain_KD + r / N * stride;
        float square = 0.0f;
#pragma omp simd reduction(+ : square)
        for (long d = 0; d < D; d++) square += widen(from[d]) * widen(from[d]);
        float rate = 1.0f / std::sqrt(square / D + epsilon);
        rate_KN[r] = rate;
#pragma omp simd
        for (long d = 0; d < D; d++)
            put(widen(from[d]) * rate * widen(gain[d]), out[r * D + d]);
    }
}

// out = passed (which may be null) + the gradient for x of unit_rms; the gain's is added
// to grad_gain_KD.
template <class E>
static void unit_rms_backward(const E* x, const E* gain_KD, const float* rate_KN,
                              const E* grad, const E* passed, E* out, E* grad_gain_KD,
                              long stride, long K, long N, long D) {
    Scratch sums(D), zeros(D);
    for (long lane = 0; lane < K; lane++) {
        const E* gain = gain_KD + lane * stride;
        float* sum = sums.data;
        std::memset(sum, 0, D * 4);
        for (long r = lane * N; r < (lane + 1) * N; r++) {
            const E *from = x + r * D, *g = grad + r * D;
            const E* pass = passed ? passed + r * D : (const E*)zeros.data;
            float rate = rate_KN[r], along = 0.0f;
#pragma omp simd reduction(+ : along)
            for (long d = 0; d < D; d++)
                along += widen(g[d]) * widen(gain[d]) * widen(from[d]);
            along *= rate * rate * rate / D;
#pragma omp simd
            for (long d = 0; d < D; d++) {
                float slope = widen(g[d]), value = widen(from[d]);
                sum[d] += slope * value * rate;
                put(widen(pass[d]) + slope * widen(gain[d]) * rate - value * along,
                    out[r * D + d]);
            }
        }
        E* to = grad_gain_KD + lane * stride;
        for (long d = 0; d < D; d++) put(widen(to[d]) + sum[d], to[d]);
    }
}

// SiLU of the first half of the channels times the second half: (N, 2M) to (N, M).
template <class E>
static void gated(const E* both, E* out, long N, long M) {
    for (long r = 0; r < N; r++) {
        const E *gates = both + r * 2 * M, *ups = gates + M;
#pragma omp simd
        for (long m = 0; m < M; m++) {
            float gate = widen(gates[m]);
            put(gate * widen(ups[m]) / (1.0f + fast_exp(-gate)), out[r * M + m]);
        }
    }
}

// Gradient of `gated`, and its output once more.
template <class E>
static void gated_backward(const E* both, const E* grad, E* grad_both, E* out, long N,
                           long M) {
    for (long r = 0; r < N; r++) {
        const E *gates = both + r * 2 * M, *ups = gates + M, *grads = grad + r * M;
        E *to = grad_both + r * 2 * M, *again = out + r * M;
#pragma omp simd
        for (long m = 0; m < M; m++) {
            float gate = widen(gates[m]), up = widen(ups[m]), g = widen(grads[m]);
            float share = 1.0f / (1.0f + fast_exp(-gate)), silu = gate * share;
            put(silu * up, again[m]);
            put(g * silu, to[m + M]);
            put(g * up * (share + silu * (1.0f - share)), to[m]);
        }
    }
}

// Queries, keys and values of one head as blocks, rotated; the queries scaled too.
template <class E>
static Head head_of_rows(const E* qkv, long T, long D, long C, const Layout& layout,
                         const Tables& tables, bool myopic, float* space) {
    long size = layout.blocks * C * WIDE;
    for (int part = 0; part < 3; part++)
        to_blocks(qkv + part * D, 3 * D, T, layout.blocks, C, space + part * size);
    for (long b = 0; b < layout.blocks; b++) {
        tables.rotate(space + b * C * WIDE, b, C, 1.0f, 1.0f / std::sqrt((float)C));
        tables.rotate(space + size + b * C * WIDE, b, C, 1.0f, 1.0f);
    }
    return Head{space, space + size, space + 2 * size, C * WIDE, C, layout.blocks, myopic};
}

// Causal attention with rotary positions; `sin_TC` is signed by half. Of each query,
// `softmax_SH2T` keeps the largest score and 1 / (sum of exponentials), T in whole blocks.
template <class E>
static void attend(const E* qkv_ST3HC, const float* cos_TC, const float* sin_TC,
                   E* mixed_STHC, float* softmax_SH2T, long S, long T, long H, long C) {
    Layout layout(1, T);
    Tables tables(layout, C, cos_TC, sin_TC);
    long D = H * C, positions = layout.blocks * WIDE;
    Scratch scratch(positions * (4 * C + WIDE));
    float *space = scratch.take(3 * positions * C), *mixed = scratch.take(positions * C);
    for (long s = 0; s < S; s++)
        for (long h = 0; h < H; h++) {
            Head head = head_of_rows(qkv_ST3HC + s * T * 3 * D + h * C, T, D, C, layout,
                                     tables, false, space);
            float* softmax = softmax_SH2T + (s * H + h) * 2 * positions;
            attend_head(head, tables, mixed, C * WIDE, softmax, softmax + positions,
                        scratch.next);
            from_blocks(mixed, T, C, mixed_STHC + s * T * D + h * C, D);
        }
}

// The gradient of one head's output as blocks, and its product with the output, summed
// over channels.
template <class E>
static void read_slope(const E* grad_TD, const E* mixed_TD, long T, long D, long C,
                       const Layout& layout, float* grad, float* along_T) {
    to_blocks(grad_TD, D, T, layout.blocks, C, grad);
    for (long t = 0; t < T; t++) {
        const E *g = grad_TD + t * D, *value = mixed_TD + t * D;
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (long c = 0; c < C; c++) sum += widen(g[c]) * widen(value[c]);
        along_T[t] = sum;
    }
}

// Gradients of rotated queries, keys and values, in blocks, as rows of those unrotated.
template <class E>
static void write_slopes(float* slopes, long T, long D, long C, const Layout& layout,
                         const Tables& tables, E* to) {
    long size = layout.blocks * C * WIDE;
    for (long b = 0; b < layout.blocks; b++) {
        float* to_q = slopes + b * C * WIDE;
        tables.rotate(to_q, b, C, -1.0f, 1.0f / std::sqrt((float)C));
        tables.rotate(to_q + size, b, C, -1.0f, 1.0f);
    }
    for (int part = 0; part < 3; part++)
        from_blocks(slopes + part * size, T, C, to + part * D, 3 * D);
}

// Gradient of `attend` for its qkv; `myopic` as in `Head`.
template <class E>
static void attend_backward(const E* qkv_ST3HC, const float* cos_TC,
                            const float* sin_TC, const E* mixed_STHC,
                            const float* softmax_SH2T, const E* grad_STHC,
                            E* grad_qkv_ST3HC, long S, long T, long H, long C,
                            long myopic) {
    Layout layout(1, T);
    Tables tables(layout, C, cos_TC, sin_TC);
    long D = H * C, positions = layout.blocks * WIDE, size = positions * C;
    Scratch scratch(7 * size + positions + 3 * WIDE * WIDE);
    float *space = scratch.take(3 * size), *grad = scratch.take(size);
    float *to_qkv = scratch.take(3 * size), *along = scratch.take(positions);
    for (long s = 0; s < S; s++)
        for (long h = 0; h < H; h++) {
            long at = s * T * D + h * C;
            Head head = head_of_rows(qkv_ST3HC + s * T * 3 * D + h * C, T, D, C, layout,
                                     tables, myopic != 0, space);
            read_slope(grad_STHC + at, mixed_STHC + at, T, D, C, layout, grad, along);
            std::memset(to_qkv, 0, 3 * size * 4);
            const float* softmax = softmax_SH2T + (s * H + h) * 2 * positions;
            attend_head_backward(head, tables, softmax, softmax + positions, grad,
                                 C * WIDE, along, to_qkv, to_qkv + size,
                                 to_qkv + 2 * size, scratch.next);
            write_slopes(to_qkv, T, D, C, layout, tables,
                         grad_qkv_ST3HC + 3 * s * T * D + h * C);
        }
}

// -log p of a target times its weight; the logits become the gradient of it.
static float row_cross_entropy(float* logit, int64_t target, float weight, long V) {
    float most = logit[0], total = 0.0f, chosen = logit[target];
#pragma omp simd reduction(max : most)
    for (long v = 0; v < V; v++) most = logit[v] > most ? logit[v] : most;
#pragma omp simd reduction(+ : total)
    for (long v = 0; v < V; v++) {
        float share = fast_exp(logit[v] - most);
        logit[v] = share;
        total += share;
    }
    float rate = weight / total;
#pragma omp simd
    for (long v = 0; v < V; v++) logit[v] *= rate;
    logit[target] -= weight;
    return (most - chosen + std::log(total)) * weight;
}

static float row_cross_entropy(Half* logit, int64_t target, float weight, long V,
                               float* wide) {
    widen_row(logit, V, wide);
    float loss = row_cross_entropy(wide, target, weight, V);
#pragma omp simd
    for (long v = 0; v < V; v++) put(wide[v], logit[v]);
    return loss;
}
static float row_cross_entropy(float* logit, int64_t target, float weight, long V,
                               float*) {
    return row_cross_entropy(logit, target, weight, V);
}

// -log p of the target of each row, and the gradient of weight times it, written over
// the logits. Rows of weight 0 get loss 0 and gradient 0.
template <class E>
static void cross_entropy(E* logits_NV, const int64_t* target_N, const float* weight_N,
                          float* loss_N, long N, long V) {
    Scratch wide(V);
    for (long r = 0; r < N; r++) {
        E* logit = logits_NV + r * V;
        loss_N[r] = 0.0f;
        if (weight_N[r] == 0.0f)
            std::memset(logit, 0, V * sizeof(E));
        else
            loss_N[r] =
                row_cross_entropy(logit, target_N[r], weight_N[r], V, wide.data);
    }
}
