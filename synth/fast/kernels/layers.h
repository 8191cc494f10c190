// Decoder layers in one call: norm, attention, norm, gated MLP, products included.
//
// Group by group (`Layout`) through all layers, so that the activations of a group stay
// in the cache, and so does everything in between. What is special to a lane or a group
// never depends on its neighbours.
//
// Letters: K lanes, S sequences of a lane, T time, D width, M width of the MLP, H heads.
#pragma once

#include "attention.h"

// What is asked for, in the order in which Python passes it.
struct LayerShape {
    long layers, K, S, T, D, M, H;
    long stride;  // between lanes of the parameters
    long myopic;  // as in `Head`
    float epsilon;
};

// Matrices and gains of a layer, or sums for their gradients.
struct LayerPart {
    float *gain, *qkv, *out, *mlp_gain, *gate_up, *down;
};
constexpr int PARTS = 6;

// Places for the activations of a group in one layer; all but the scratch are read again
// by the backward pass.
struct Activations {
    float *x, *rate, *qkv, *mixed, *most, *inverse, *y, *mlp_rate, *both;

    static long count(const LayerShape& shape, const Layout& layout) {
        return layout.blocks * WIDE * (6 * shape.D + 2 * shape.M + 2 * shape.H + 2);
    }
    Activations(float* at, const LayerShape& shape, const Layout& layout) {
        long positions = layout.blocks * WIDE;
        auto take = [&](long channels) {
            float* taken = at;
            at += channels * positions;
            return taken;
        };
        x = take(shape.D), rate = take(1), qkv = take(3 * shape.D);
        mixed = take(shape.D), most = take(shape.H), inverse = take(shape.H);
        y = take(shape.D), mlp_rate = take(1), both = take(2 * shape.M);
    }
};

static long part_size(const LayerShape& s, int part) {
    long D = s.D, sizes[PARTS] = {D, 3 * D * D, D * D, D, 2 * s.M * D, D * s.M};
    return sizes[part];
}

// The weights of all layers of one lane, in fp32.
template <class E>
struct LaneWeights {
    Scratch memory;
    LayerPart* layers;

    static long size(const LayerShape& shape) {
        long sum = 0;
        for (int part = 0; part < PARTS; part++) sum += part_size(shape, part) + LANES;
        return sum * shape.layers;
    }
    explicit LaneWeights(const LayerShape& shape)
        : memory(size(shape)), layers(new LayerPart[shape.layers]) {}
    ~LaneWeights() { delete[] layers; }

    void read(const LayerShape& shape, const E* const* from, long lane) {
        memory.next = memory.data;
        for (long l = 0; l < shape.layers; l++)
            for (int part = 0; part < PARTS; part++) {
                long count = part_size(shape, part);
                float* to = memory.take(count);
                widen_row(from[l * PARTS + part] + lane * shape.stride, count, to);
                (&layers[l].gain)[part] = to;
            }
    }
};

static void layer_forward(const LayerShape& s, const Layout& layout,
                          const Tables& tables, const LayerPart& weights,
                          const Activations& a, float* out_BDW, float* space) {
    long D = s.D, M = s.M, C = D / s.H, tile = D * WIDE, B = layout.blocks;
    float *normed = space, *inner = normed + tile, *weight = inner + M * WIDE;
    float scale = 1.0f / std::sqrt((float)C);
    for (long b = 0; b < B; b++) {
        float* qkv = a.qkv + 3 * b * tile;
        block_norm(a.x + b * tile, weights.gain, D, s.epsilon, a.rate + b * WIDE, normed);
        product(3 * D, D, Factor{weights.qkv, D, 1, 0}, normed, qkv, false);
        for (long h = 0; h < s.H; h++) {
            tables.rotate(qkv + h * C * WIDE, b, C, 1.0f, scale);
            tables.rotate(qkv + tile + h * C * WIDE, b, C, 1.0f, 1.0f);
        }
    }
    for (long h = 0; h < s.H; h++) {
        const float* q = a.qkv + h * C * WIDE;
        attend_head(Head{q, q + tile, q + 2 * tile, 3 * tile, C, B, s.myopic != 0}, tables,
                    a.mixed + h * C * WIDE, tile, a.most + h * B * WIDE,
                    a.inverse + h * B * WIDE, weight);
    }
    for (long b = 0; b < B; b++) {
        float *y = a.y + b * tile, *both = a.both + 2 * b * M * WIDE;
        std::memcpy(y, a.x + b * tile, tile * 4);
        product(D, D, Factor{weights.out, D, 1, 0}, a.mixed + b * tile, y, true);
        block_norm(y, weights.mlp_gain, D, s.epsilon, a.mlp_rate + b * WIDE, normed);
        product(2 * M, D, Factor{weights.gate_up, D, 1, 0}, normed, both, false);
        block_gate(both, M, inner);
        std::memcpy(out_BDW + b * tile, y, tile * 4);
        product(D, M, Factor{weights.down, M, 1, 0}, inner, out_BDW + b * tile, true);
    }
}

// Room that `layer_forward` and `layer_backward` need for a group.
static long layer_space(const LayerShape& s, const Layout& layout) {
    long forward = s.D + s.M + layout.blocks * WIDE;
    long backward = layout.blocks * (7 * s.D + 4 * s.M + 2 * LANES + s.H) + 3 * WIDE;
    return WIDE * (forward > backward ? forward : backward);
}

// grad_BDW: the gradient for the layer's output, replaced by that for its input. Those of
// the parameters are added to `sums`: matrices in columns (`add_outer`), gains as one
// vector a channel.
static void layer_backward(const LayerShape& s, const Layout& layout,
                           const Tables& tables, const LayerPart& weights,
                           const Activations& a, float* grad_BDW, const LayerPart& sums,
                           float* space) {
    long D = s.D, M = s.M, C = D / s.H, tile = D * WIDE, B = layout.blocks;
    auto take = [&](long channels) {
        float* taken = space;
        space += channels * WIDE;
        return taken;
    };
    float *normed = take(B * D), *to_normed = take(D), *to_qkv = take(B * 3 * D);
    float *to_mixed = take(B * D), *columns = take(B * (padded(D > M ? D : M)));
    float *inner = take(B * M), *to_both = take(B * 2 * M), *along = take(B * s.H);
    float* squares = take(3 * WIDE);

    for (long b = 0; b < B; b++) {
        const float* both = a.both + 2 * b * M * WIDE;
        float *grad = grad_BDW + b * tile, *slope = to_both + 2 * b * M * WIDE;
        product(M, D, Factor{weights.down, 1, M, 0}, grad, slope, false);
        // The gradient of the gate's output gives way to that of its inputs.
        block_gate_backward(both, slope, M, slope, inner + b * M * WIDE);
    }
    to_columns(inner, B, M, columns);
    add_outer(D, M, B, grad_BDW, columns, sums.down);
    for (long b = 0; b < B; b++) {
        product(D, 2 * M, Factor{weights.gate_up, 1, D, 0}, to_both + 2 * b * M * WIDE,
                to_normed, false);
        block_norm_backward(a.y + b * tile, weights.mlp_gain, a.mlp_rate + b * WIDE,
                            to_normed, D, grad_BDW + b * tile, sums.mlp_gain,
                            normed + b * tile);
    }
    to_columns(normed, B, D, columns);
    add_outer(2 * M, D, B, to_both, columns, sums.gate_up);

    to_columns(a.mixed, B, D, columns);
    add_outer(D, D, B, grad_BDW, columns, sums.out);
    for (long b = 0; b < B; b++) {
        const float* mixed = a.mixed + b * tile;
        float* to = to_mixed + b * tile;
        product(D, D, Factor{weights.out, 1, D, 0}, grad_BDW + b * tile, to, false);
        for (long h = 0; h < s.H; h++)
            for (long w = 0; w < WIDE; w += LANES) {
                Vector sum{};
                for (long at = h * C * WIDE + w; at < (h + 1) * C * WIDE; at += WIDE)
                    sum += load(to + at) * load(mixed + at);
                store(along + (h * B + b) * WIDE + w, sum);
            }
    }
    std::memset(to_qkv, 0, B * 3 * tile * 4);
    for (long h = 0; h < s.H; h++) {
        long at = h * C * WIDE;
        const float* q = a.qkv + at;
        float* to_q = to_qkv + at;
        attend_head_backward(Head{q, q + tile, q + 2 * tile, 3 * tile, C, B, s.myopic != 0}, tables,
                             a.most + h * B * WIDE, a.inverse + h * B * WIDE,
                             to_mixed + at, tile, along + h * B * WIDE, to_q,
                             to_q + tile, to_q + 2 * tile, squares);
    }
    float scale = 1.0f / std::sqrt((float)C);
    for (long b = 0; b < B; b++) {
        float* slope = to_qkv + 3 * b * tile;
        for (long h = 0; h < s.H; h++) {
            tables.rotate(slope + h * C * WIDE, b, C, -1.0f, scale);
            tables.rotate(slope + tile + h * C * WIDE, b, C, -1.0f, 1.0f);
        }
        product(D, 3 * D, Factor{weights.qkv, 1, D, 0}, slope, to_normed, false);
        block_norm_backward(a.x + b * tile, weights.gain, a.rate + b * WIDE, to_normed, D,
                            grad_BDW + b * tile, sums.gain, normed + b * tile);
    }
    to_columns(normed, B, D, columns);
    add_outer(3 * D, D, B, to_qkv, columns, sums.qkv);
}

// Floats that `layers` keeps for `layers_backward`.
template <class E>
static long kept_by_layers(const LayerShape* shape) {
    Layout layout(shape->S, shape->T);
    return shape->K * layout.groups * shape->layers *
           Activations::count(*shape, layout);
}

// The output of all layers. `kept` may be null if no gradient will be asked for.
template <class E>
static void layers(const LayerShape* shape, const E* const* weights, const float* cos_TC,
                   const float* sin_TC, const E* x_KSTD, E* out_KSTD, float* kept) {
    const LayerShape& s = *shape;
    Layout layout(s.S, s.T);
    Tables tables(layout, s.D / s.H, cos_TC, sin_TC);
    long count = Activations::count(s, layout), group_size = layout.together * s.T * s.D;
    LaneWeights<E> lane_weights(s);
    Scratch out(layout.blocks * WIDE * s.D), space(layer_space(s, layout));
    Scratch two(kept ? 0 : 2 * count);  // layers take turns
    for (long k = 0; k < s.K; k++) {
        lane_weights.read(s, weights, k);
        for (long g = 0; g < layout.groups; g++) {
            long start = k * s.S * s.T * s.D + g * group_size;
            float* base = kept ? kept + (k * layout.groups + g) * s.layers * count : two.data;
            auto place = [&](long l) {
                return Activations(base + (kept ? l : l % 2) * count, s, layout);
            };
            to_blocks(x_KSTD + start, s.D, layout.positions(g), layout.blocks, s.D,
                      place(0).x);
            for (long l = 0; l < s.layers; l++) {
                float* to = l + 1 < s.layers ? place(l + 1).x : out.data;
                layer_forward(s, layout, tables, lane_weights.layers[l], place(l), to,
                              space.data);
            }
            from_blocks(out.data, layout.positions(g), s.D, out_KSTD + start, s.D);
        }
    }
}

// The gradient for x of `layers`; those of the parameters are added to `grads`.
template <class E>
static void layers_backward(const LayerShape* shape, const E* const* weights,
                            E* const* grads, const float* cos_TC, const float* sin_TC,
                            float* kept, const E* grad_KSTD, E* to_x_KSTD) {
    const LayerShape& s = *shape;
    Layout layout(s.S, s.T);
    Tables tables(layout, s.D / s.H, cos_TC, sin_TC);
    long count = Activations::count(s, layout), group_size = layout.together * s.T * s.D;
    LaneWeights<E> lane_weights(s);
    Scratch grad(layout.blocks * WIDE * s.D), space(layer_space(s, layout));
    long D = s.D, columns = padded(D), sizes[PARTS] = {
        D * LANES, 3 * D * columns, D * columns, D * LANES, 2 * s.M * columns,
        D * padded(s.M)};
    long total = 0;
    for (long size : sizes) total += size * s.layers;
    Scratch memory(total);
    LayerPart* sums = new LayerPart[s.layers];
    for (long l = 0; l < s.layers; l++)
        for (int part = 0; part < PARTS; part++)
            (&sums[l].gain)[part] = memory.take(sizes[part]);
    for (long k = 0; k < s.K; k++) {
        lane_weights.read(s, weights, k);
        if (k > 0) std::memset(memory.data, 0, total * 4);
        for (long g = 0; g < layout.groups; g++) {
            long start = k * s.S * s.T * D + g * group_size;
            float* base = kept + (k * layout.groups + g) * s.layers * count;
            to_blocks(grad_KSTD + start, D, layout.positions(g), layout.blocks, D,
                      grad.data);
            for (long l = s.layers - 1; l >= 0; l--)
                layer_backward(s, layout, tables, lane_weights.layers[l],
                               Activations(base + l * count, s, layout), grad.data,
                               sums[l], space.data);
            from_blocks(grad.data, layout.positions(g), D, to_x_KSTD + start, D);
        }
        for (long l = 0; l < s.layers; l++) {
            auto to = [&](int part) { return grads[l * PARTS + part] + k * s.stride; };
            add_vectors(sums[l].gain, D, to(0));
            add_vectors(sums[l].mlp_gain, D, to(3));
            add_sum(sums[l].qkv, 3 * D, D, to(1));
            add_sum(sums[l].out, D, D, to(2));
            add_sum(sums[l].gate_up, 2 * s.M, D, to(4));
            add_sum(sums[l].down, D, s.M, to(5));
        }
    }
    delete[] sums;
}
