// Decoder layers on bf16 rows in one call: factors of products are bf16, the residual stream
// and what lies between products are fp32.
//
// Layer by layer, and in each group by group of whole sequences, so that the weights of a
// layer and the activations of a group stay in the cache.
//
// Letters: as in bf16_rows.h.
#pragma once

#include "bf16_rows.h"

#ifdef BF16_PRODUCTS

constexpr long NARROWEST_ON_TILES = 32;

static bool runs_on_tiles(const LayerShape* shape) {
    return bf16_is_fast && shape->D >= NARROWEST_ON_TILES;
}

static void tile_layer_forward(const TileSizes& z, const Attend& attend,
                               const TileWeights& weights, const TileActivations& a,
                               long sequences, float* out_RP, const TileSpace& space) {
    long T = z.s.T, stream = z.R * z.P * 4;
    tile_norm(z, a.x, weights.gain, a.rate, space.normed);
    rounded_product(z.R, z.U, z.P, space.normed, z.P, weights.qkv, a.qkv, z.U);
    std::memset(a.mixed, 0, z.R * z.P * 2);
    for (long s = 0; s < sequences; s++)
        attend(a.qkv + s * T * z.U, a.mixed + s * T * z.P,
               a.softmax + s * z.s.H * 2 * attend.N);
    std::memcpy(a.y, a.x, stream);
    panel_product(z.R, z.P, z.P, a.mixed, z.P, weights.out, a.y, z.P, true);
    tile_norm(z, a.y, weights.mlp_gain, a.mlp_rate, space.normed);
    rounded_product(z.R, 2 * z.Q, z.P, space.normed, z.P, weights.gate_up, a.both, 2 * z.Q);
    tile_gate(z, a.both, space.inner);
    std::memcpy(out_RP, a.y, stream);
    panel_product(z.R, z.P, z.Q, space.inner, z.Q, weights.down, out_RP, z.P, true);
}

// grad_RP: the gradient for the output of y + MLP(y), replaced by that for y.
static void tile_mlp_backward(const TileSizes& z, const TileWeights& weights,
                              const TileActivations& a, float* grad_RP,
                              const TileSums& sums, const TileSpace& space) {
    long P = z.P, Q = z.Q;
    round_rows(grad_RP, z.R * P, space.rounded);
    for (long r = 0; r < z.R; r += DEPTH) {
        panel_product(DEPTH, Q, P, space.rounded + r * P, P, weights.down, space.stripe, Q,
                      false);
        tile_gate_backward(DEPTH, Q, a.both + r * 2 * Q, space.stripe,
                           space.to_both + r * 2 * Q, space.inner + r * Q);
    }
    add_over_rows(z, space.rounded, space.inner, Q, sums.down_PQ, space);
    panel_product(z.R, P, 2 * Q, space.to_both, 2 * Q, weights.gate_up, space.to_normed, P,
                  false);
    tile_norm_backward(z, a.y, weights.mlp_gain, a.mlp_rate, space.to_normed, grad_RP,
                       sums.mlp_gain, space.normed);
    add_over_rows(z, space.normed, space.to_both, 2 * Q, sums.gate_up_P2Q, space);
}

// The same of x + attention(x).
static void tile_attention_backward(const TileSizes& z, const AttendBackward& attend,
                                    const TileWeights& weights, const TileActivations& a,
                                    long sequences, float* grad_RP, const TileSums& sums,
                                    const TileSpace& space) {
    long T = z.s.T, P = z.P;
    round_rows(grad_RP, z.R * P, space.rounded);
    rounded_product(z.R, P, P, space.rounded, P, weights.out, space.to_mixed, P);
    add_over_rows(z, space.rounded, a.mixed, P, sums.out_PP, space);
    for (long s = 0; s < sequences; s++)
        attend(a.qkv + s * T * z.U, a.mixed + s * T * P,
               a.softmax + s * z.s.H * 2 * attend.N, space.to_mixed + s * T * P,
               space.to_qkv + s * T * z.U);
    long written = sequences * T;
    std::memset(space.to_qkv + written * z.U, 0, (z.R - written) * z.U * 2);
    panel_product(z.R, P, z.U, space.to_qkv, z.U, weights.qkv, space.to_normed, P, false);
    tile_norm_backward(z, a.x, weights.gain, a.rate, space.to_normed, grad_RP, sums.gain,
                       space.normed);
    add_over_rows(z, space.normed, space.to_qkv, z.U, sums.qkv_PU, space);
}

// Between the rows of a group, D numbers each, and the residual stream.
static void to_stream(const Half* from, long rows, const TileSizes& z, float* to_RP) {
    std::memset(to_RP, 0, z.R * z.P * 4);
    for (long r = 0; r < rows; r++) widen_row(from + r * z.s.D, z.s.D, to_RP + r * z.P);
}
static void from_stream(const float* from_RP, long rows, const TileSizes& z, Half* to) {
    for (long r = 0; r < rows; r++)
        for (long d = 0; d < z.s.D; d += LANES)
            store_first(load(from_RP + r * z.P + d), to + r * z.s.D + d,
                        first(z.s.D - d));
}

// Like `kept_by_layers`, `layers` and `layers_backward`.
static long bf16_kept_by_layers(const LayerShape* shape) {
    if (!runs_on_tiles(shape)) return kept_by_layers<Half>(shape);
    TileSizes z(*shape);
    return z.s.K * z.groups * z.s.layers * TileActivations::count(z);
}

static void bf16_layers(const LayerShape* shape, const Half* const* weights,
                        const float* cos_TC, const float* sin_TC, const Half* x_KSTD,
                        Half* out_KSTD, float* kept) {
    if (!runs_on_tiles(shape))
        return layers(shape, weights, cos_TC, sin_TC, x_KSTD, out_KSTD, kept);
    TileShapes shapes;
    TileSizes z(*shape);
    long count = TileActivations::count(z), length = z.s.T * z.s.D;
    TileWeights layer_weights(z);
    TileSpace space(z);
    Attend attend(z.heads(cos_TC, sin_TC));
    long places = kept ? z.s.layers : 2;  // without a backward pass layers take turns
    Scratch dropped(kept ? 0 : z.groups * places * count), out(z.R * z.P);
    for (long k = 0; k < z.s.K; k++)
        for (long l = 0; l < z.s.layers; l++) {
            layer_weights.read(z, weights + l * PARTS, k, true);
            for (long g = 0; g < z.groups; g++) {
                long start = (k * z.s.S + g * z.together) * length;
                long rows = z.sequences(g) * z.s.T;
                float* base = kept ? kept + k * z.groups * places * count : dropped.data;
                auto place = [&](long l) {
                    return TileActivations(base + (g * places + l % places) * count, z);
                };
                bool last = l + 1 == z.s.layers;
                if (l == 0) to_stream(x_KSTD + start, rows, z, place(0).x);
                tile_layer_forward(z, attend, layer_weights, place(l), z.sequences(g),
                                   last ? out.data : place(l + 1).x, space);
                if (last) from_stream(out.data, rows, z, out_KSTD + start);
            }
        }
}

static void bf16_layers_backward(const LayerShape* shape, const Half* const* weights,
                                 Half* const* grads, const float* cos_TC,
                                 const float* sin_TC, float* kept, const Half* grad_KSTD,
                                 Half* to_x_KSTD) {
    if (!runs_on_tiles(shape))
        return layers_backward(shape, weights, grads, cos_TC, sin_TC, kept, grad_KSTD,
                               to_x_KSTD);
    TileShapes shapes;
    TileSizes z(*shape);
    long count = TileActivations::count(z), length = z.s.T * z.s.D;
    TileWeights layer_weights(z);
    TileSpace space(z);
    TileSums sums(z);
    AttendBackward attend(z.heads(cos_TC, sin_TC), z.s.myopic != 0);
    Scratch streams(z.groups * z.R * z.P);
    for (long k = 0; k < z.s.K; k++)
        for (long l = z.s.layers - 1; l >= 0; l--) {
            layer_weights.read(z, weights + l * PARTS, k, false);
            auto kept_of = [&](long g) {
                return TileActivations(
                    kept + ((k * z.groups + g) * z.s.layers + l) * count, z);
            };
            auto rows = [&](long g) { return z.sequences(g) * z.s.T; };
            auto start = [&](long g) { return (k * z.s.S + g * z.together) * length; };
            auto grad = [&](long g) { return streams.data + g * z.R * z.P; };
            // Two rounds, since the sums of half a layer stay in the cache.
            for (long g = 0; g < z.groups; g++) {
                if (l + 1 == z.s.layers)
                    to_stream(grad_KSTD + start(g), rows(g), z, grad(g));
                tile_mlp_backward(z, layer_weights, kept_of(g), grad(g), sums, space);
            }
            for (long g = 0; g < z.groups; g++) {
                tile_attention_backward(z, attend, layer_weights, kept_of(g),
                                        z.sequences(g), grad(g), sums, space);
                if (l == 0) from_stream(grad(g), rows(g), z, to_x_KSTD + start(g));
            }
            sums.put_away(z, grads + l * PARTS, k);
        }
}
#endif
