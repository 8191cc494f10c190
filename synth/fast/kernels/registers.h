// Attention of rows and their registers: a register attends to the tokens up to its place
// and to itself. It reads the tokens like any query; its own key is then merged into the
// softmax, and has its gradients apart.
//
// Letters: as in attention.h; each lane has B rows, then their B registers.
#pragma once

#include "rows.h"

// Adds the own key and value of each query to what `attend_head` found without them.
static void merge_own(const Head& own, float* mixed, float* most_T, float* inverse_T) {
    for (long b = 0; b < own.blocks; b++)
        for (long w = 0; w < WIDE; w += LANES) {
            long from = b * own.jump + w, at = b * WIDE + w;
            Vector score{};
            for (long c = 0; c < own.C; c++)
                score += load(own.q + from + c * WIDE) * load(own.k + from + c * WIDE);
            Vector before = load(most_T + at), most = larger(before, score);
            Vector others = fast_exp(before - most) / load(inverse_T + at);
            Vector mine = fast_exp(score - most), inverse = 1.0f / (others + mine);
            store(most_T + at, most);
            store(inverse_T + at, inverse);
            others *= inverse, mine *= inverse;
            for (long c = 0; c < own.C; c++) {
                float* out = mixed + from + c * WIDE;
                store(out, load(out) * others + mine * load(own.v + from + c * WIDE));
            }
        }
}

// Adds the gradient that goes through the own key to `dq`; sets `dk` and `dv`.
static void own_backward(const Head& own, const float* most_T, const float* inverse_T,
                         const float* grad, const float* along_T, float* dq, float* dk,
                         float* dv) {
    for (long b = 0; b < own.blocks; b++)
        for (long w = 0; w < WIDE; w += LANES) {
            long from = b * own.jump + w, at = b * WIDE + w;
            Vector score{}, slope{};
            for (long c = from; c < from + own.C * WIDE; c += WIDE) {
                score += load(own.q + c) * load(own.k + c);
                slope += load(grad + c) * load(own.v + c);
            }
            Vector share = fast_exp(score - load(most_T + at)) * load(inverse_T + at);
            slope = share * (slope - load(along_T + at));
            for (long c = from; c < from + own.C * WIDE; c += WIDE) {
                store(dq + c, load(dq + c) + slope * load(own.k + c));
                store(dk + c, slope * load(own.q + c));
                store(dv + c, share * load(grad + c));
            }
        }
}

// Like `attend`, of K lanes of 2 B rows. Registers of row b stand `ahead - 1` places
// further; the rotation tables reach as far.
template <class E>
static void attend_registers(const E* qkv_S3HC, const float* cos_TC, const float* sin_TC,
                             const int64_t* ahead_KB, E* mixed_SHC, float* softmax_SH2T,
                             long K, long B, long T, long H, long C) {
    Layout layout(1, T);
    Tables tables(layout, C, cos_TC, sin_TC);
    long D = H * C, positions = layout.blocks * WIDE, size = positions * C;
    Scratch scratch(7 * size + positions * WIDE);
    float *rows = scratch.take(3 * size), *own = scratch.take(3 * size);
    float* mixed = scratch.take(size);
    for (long at = 0; at < K * B; at++) {
        long s = at / B * 2 * B + at % B, shift = (ahead_KB[at] - 1) * C;
        Tables places(layout, C, cos_TC + shift, sin_TC + shift);
        for (long h = 0; h < H; h++) {
            auto softmax = [&](long s) { return softmax_SH2T + (s * H + h) * 2 * positions; };
            auto head = [&](long s, const Tables& tables, float* space) {
                return head_of_rows(qkv_S3HC + s * T * 3 * D + h * C, T, D, C, layout,
                                    tables, false, space);
            };
            auto attend = [&](const Head& head, long s) {
                attend_head(head, tables, mixed, C * WIDE, softmax(s),
                            softmax(s) + positions, scratch.next);
            };
            auto write = [&](long s) {
                from_blocks(mixed, T, C, mixed_SHC + s * T * D + h * C, D);
            };
            Head tokens = head(s, tables, rows), registers = head(s + B, places, own);
            attend(tokens, s);
            write(s);
            tokens.q = registers.q;
            attend(tokens, s + B);
            merge_own(registers, mixed, softmax(s + B), softmax(s + B) + positions);
            write(s + B);
        }
    }
}

// Gradient of `attend_registers` for its qkv.
template <class E>
static void attend_registers_backward(const E* qkv_S3HC, const float* cos_TC,
                                      const float* sin_TC, const int64_t* ahead_KB,
                                      const E* mixed_SHC, const float* softmax_SH2T,
                                      const E* grad_SHC, E* grad_qkv_S3HC, long K, long B,
                                      long T, long H, long C) {
    Layout layout(1, T);
    Tables tables(layout, C, cos_TC, sin_TC);
    long D = H * C, positions = layout.blocks * WIDE, size = positions * C;
    Scratch scratch(13 * size + positions + 3 * WIDE * WIDE);
    float *rows = scratch.take(3 * size), *own = scratch.take(3 * size);
    float *to_rows = scratch.take(3 * size), *to_own = scratch.take(3 * size);
    float *grad = scratch.take(size), *along = scratch.take(positions);
    for (long at = 0; at < K * B; at++) {
        long s = at / B * 2 * B + at % B, shift = (ahead_KB[at] - 1) * C;
        Tables places(layout, C, cos_TC + shift, sin_TC + shift);
        for (long h = 0; h < H; h++) {
            auto head = [&](long s, const Tables& tables, float* space) {
                return head_of_rows(qkv_S3HC + s * T * 3 * D + h * C, T, D, C, layout,
                                    tables, false, space);
            };
            auto back = [&](const Head& head, long s, float* dq) {
                const float* softmax = softmax_SH2T + (s * H + h) * 2 * positions;
                read_slope(grad_SHC + s * T * D + h * C, mixed_SHC + s * T * D + h * C, T,
                           D, C, layout, grad, along);
                attend_head_backward(head, tables, softmax, softmax + positions, grad,
                                     C * WIDE, along, dq, to_rows + size,
                                     to_rows + 2 * size, scratch.next);
                return softmax;
            };
            auto write = [&](long s, const Tables& tables, float* to) {
                write_slopes(to, T, D, C, layout, tables,
                             grad_qkv_S3HC + 3 * s * T * D + h * C);
            };
            Head tokens = head(s, tables, rows), registers = head(s + B, places, own);
            std::memset(to_rows, 0, 3 * size * 4);
            std::memset(to_own, 0, size * 4);
            back(tokens, s, to_rows);
            tokens.q = registers.q;
            const float* softmax = back(tokens, s + B, to_own);
            own_backward(registers, softmax, softmax + positions, grad, along, to_own,
                         to_own + size, to_own + 2 * size);
            write(s, tables, to_rows);
            write(s + B, places, to_own);
        }
    }
}
