// Passes over activations, and causal attention, on one CPU thread.
//
// What torch does in a dozen passes over memory is done here in one; products of whole
// batches stay with torch. Every function works on rows (or on one head of one
// sequence) in an order that depends on nothing else: a lane of a pack gets the bits
// that it gets alone. No library is used, so it compiles in about two seconds.
//
// Activations, weights and their gradients are fp32 or bf16 (E below); what is computed
// from them is fp32 until it is stored, and so are losses, rates and rotation tables.
//
// Letters: K lanes, N positions of a lane, D width, M width of the MLP, V vocabulary,
// S sequences, T time, H attention heads, C channels of a head. All tensors are
// contiguous, the last letter fastest.

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#if defined(__AVX512F__)
constexpr int LANES = 16, ROWS = 12;  // 24 of 32 registers hold sums
#elif defined(__AVX2__)
constexpr int LANES = 8, ROWS = 6;  // 12 of 16
#else
constexpr int LANES = 4, ROWS = 6;
#endif
constexpr int WIDE = 2 * LANES;

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef float Loose
    __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline Vector load(const float* from) { return *(const Loose*)from; }
static inline void store(float* to, Vector value) { *(Loose*)to = value; }

// A bf16 number: the upper half of an fp32 one.
struct Half {
    uint16_t bits;
};

static inline float widen(float value) { return value; }
static inline float widen(Half value) {
    uint32_t bits = (uint32_t)value.bits << 16;
    float wide;
    std::memcpy(&wide, &bits, 4);
    return wide;
}

static inline void put(float value, float& to) { to = value; }
// To the nearest, ties to even. A NaN keeps its upper half: those of a processor's own
// making, and those that come from bf16, stay NaN.
static inline void put(float value, Half& to) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    to.bits = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// e^x to 2e-7 relative for |x| < 87 and 0 below, without branches, so that loops over it
// vectorise (the polynomial of Cephes' expf). Results are never denormal, which would
// cost a hundred cycles in each product that meets them.
static inline float fast_exp(float exponent) {
    float x = exponent < -87.0f ? -87.0f : (exponent > 87.0f ? 87.0f : exponent);
    float shifted = x * 1.44269504f + 12582912.0f;  // rounds to an integer
    float whole = shifted - 12582912.0f;
    float r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    int32_t power = ((int32_t)whole + 127) << 23;
    float scale;
    std::memcpy(&scale, &power, 4);
    return exponent < -87.0f ? 0.0f : y * scale;
}

// out[m][0..WIDE) (+)= sum over k of a[m][k] b[k][0..WIDE), sums held in registers.
template <int M>
static inline void tile(long depth, const float* a, long a_row, long a_step,
                        const float* b, float* out, bool add) {
    Vector sum[M][2];
    for (int m = 0; m < M; m++)
        for (int w = 0; w < 2; w++)
            sum[m][w] = add ? load(out + m * WIDE + w * LANES) : Vector{};
    for (long k = 0; k < depth; k++) {
        Vector left = load(b), right = load(b + LANES);
#pragma GCC unroll 12
        for (int m = 0; m < M; m++) {
            float factor = a[m * a_row];
            sum[m][0] += left * factor;
            sum[m][1] += right * factor;
        }
        a += a_step;
        b += WIDE;
    }
    for (int m = 0; m < M; m++)
        for (int w = 0; w < 2; w++) store(out + m * WIDE + w * LANES, sum[m][w]);
}

// The same for any number of rows.
static void product(long rows, long depth, const float* a, long a_row, long a_step,
                    const float* b, float* out, bool add) {
    for (; rows >= ROWS; rows -= ROWS, a += ROWS * a_row, out += ROWS * WIDE)
        tile<ROWS>(depth, a, a_row, a_step, b, out, add);
    for (; rows >= 4; rows -= 4, a += 4 * a_row, out += 4 * WIDE)
        tile<4>(depth, a, a_row, a_step, b, out, add);
    for (; rows >= 1; rows -= 1, a += a_row, out += WIDE)
        tile<1>(depth, a, a_row, a_step, b, out, add);
}

// Zeroed memory for one call; attention needs a few hundred kilobytes at most.
struct Scratch {
    float* data;
    explicit Scratch(long count) {
        long bytes = (count * 4 + 63) / 64 * 64 + 64;
        data = (float*)std::aligned_alloc(64, bytes);
        std::memset(data, 0, bytes);
    }
    ~Scratch() { std::free(data); }
};

// x cos + swap(x) sin for one position, times a scale.
template <class E>
static inline void rotate(const E* x, const float* cos, const float* sin, long C,
                          float scale, float* __restrict out) {
    long half = C / 2;
#pragma omp simd
    for (long c = 0; c < half; c++) {
        float a = widen(x[c]), b = widen(x[c + half]);
        out[c] = (a * cos[c] + b * sin[c]) * scale;
        out[c + half] = (b * cos[c + half] + a * sin[c + half]) * scale;
    }
}

// The opposite rotation of a block of WIDE positions, in place.
static inline void rotate_back(float* x_CW, const float* cos_CW, const float* sin_CW,
                               long C, float scale) {
    long half = C / 2 * WIDE;
    for (long c = 0; c < half; c += WIDE)
#pragma omp simd
        for (int i = 0; i < WIDE; i++) {
            float a = x_CW[c + i], b = x_CW[c + half + i];
            x_CW[c + i] = (a * cos_CW[c + i] - b * sin_CW[c + i]) * scale;
            x_CW[c + half + i] =
                (b * cos_CW[c + half + i] - a * sin_CW[c + half + i]) * scale;
        }
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLES
#endif
#endif

#ifdef SHUFFLES
#if defined(__AVX512F__)
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(__AVX2__)
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#endif

// A square of LANES x LANES values: interleaving halves log2(LANES) times transposes.
static inline void transpose_square(const float* from, long from_row, float* to,
                                    long to_row) {
    Vector row[LANES], next[LANES];
    for (int r = 0; r < LANES; r++) row[r] = load(from + r * from_row);
#pragma GCC unroll 4
    for (int stage = 1; stage < LANES; stage *= 2) {
#pragma GCC unroll 8
        for (int r = 0; r < LANES / 2; r++) {
            next[2 * r] = __builtin_shufflevector(row[r], row[r + LANES / 2], LOW);
            next[2 * r + 1] =
                __builtin_shufflevector(row[r], row[r + LANES / 2], HIGH);
        }
#pragma GCC unroll 16
        for (int r = 0; r < LANES; r++) row[r] = next[r];
    }
    for (int r = 0; r < LANES; r++) store(to + r * to_row, row[r]);
}
#endif

// to[c][r] = from[r][c].
static void transpose(const float* from, long from_row, long rows, long columns,
                      float* to, long to_row) {
    long whole_rows = 0, whole_columns = 0;
#ifdef SHUFFLES
    whole_rows = rows / LANES * LANES, whole_columns = columns / LANES * LANES;
    for (long r = 0; r < whole_rows; r += LANES)
        for (long c = 0; c < whole_columns; c += LANES)
            transpose_square(from + r * from_row + c, from_row, to + c * to_row + r,
                             to_row);
#endif
    for (long r = 0; r < rows; r++)
        for (long c = r < whole_rows ? whole_columns : 0; c < columns; c++)
            to[c * to_row + r] = from[r * from_row + c];
}

// Positions as rows to blocks of WIDE positions: (T, C) to (T / WIDE, C, WIDE).
static void to_blocks(const float* from, long from_row, long T, long C, float* to_BCW) {
    for (long t = 0; t < T; t += WIDE)
        transpose(from + t * from_row, from_row, T - t < WIDE ? T - t : WIDE, C,
                  to_BCW + t * C, WIDE);
}

template <class E>
static inline void widen_row(const E* from, long C, float* __restrict to) {
#pragma omp simd
    for (long c = 0; c < C; c++) to[c] = widen(from[c]);
}

// A block of positions as channels, (C, WIDE), to rows of C values; `spare` has room for
// the block.
static void put_rows(const float* from_CW, long C, long rows, float* to, long to_row,
                     float*) {
    transpose(from_CW, WIDE, C, rows, to, to_row);
}
static void put_rows(const float* from_CW, long C, long rows, Half* to, long to_row,
                     float* spare) {
    transpose(from_CW, WIDE, C, rows, spare, C);
    for (long r = 0; r < rows; r++)
#pragma omp simd
        for (long c = 0; c < C; c++) put(spare[r * C + c], to[r * to_row + c]);
}

template <class E>
static void attend_head(const E* qkv, const float* cos, const float* sin, long T,
                        long D, long C, E* mixed, float* log_sum, float* space) {
    long row = 3 * D, padded = (T + WIDE - 1) / WIDE * WIDE;
    float scale = 1.0f / std::sqrt((float)C);
    float* q_TC = space;  // rotated, scaled
    float* q_BCW = q_TC + T * C;
    float* k_TC = q_BCW + padded * C;  // rotated
    float* v_TC = k_TC + T * C;
    float* weight = v_TC + T * C;  // keys x WIDE queries
    float* sum_CW = weight + T * WIDE;
    float* spare = sum_CW + C * WIDE;
    for (long t = 0; t < T; t++) {
        const E* from = qkv + t * row;
        const float *cos_C = cos + t * C, *sin_C = sin + t * C;
        rotate(from, cos_C, sin_C, C, scale, q_TC + t * C);
        rotate(from + D, cos_C, sin_C, C, 1.0f, k_TC + t * C);
        widen_row(from + 2 * D, C, v_TC + t * C);
    }
    to_blocks(q_TC, C, T, C, q_BCW);
    for (long first = 0; first < T; first += WIDE) {
        long keys = first + WIDE < T ? first + WIDE : T;
        product(keys, C, k_TC, C, 1, q_BCW + first * C, weight, false);
        for (long j = first; j < keys; j++)
            for (long i = 0; i < j - first; i++) weight[j * WIDE + i] = -1e30f;
        alignas(64) float most[WIDE], total[WIDE];
        for (int i = 0; i < WIDE; i++) most[i] = -1e30f, total[i] = 0.0f;
        for (long j = 0; j < keys; j++)
#pragma omp simd
            for (int i = 0; i < WIDE; i++) {
                float value = weight[j * WIDE + i];
                most[i] = value > most[i] ? value : most[i];
            }
        for (long j = 0; j < keys; j++)
#pragma omp simd
            for (int i = 0; i < WIDE; i++) {
                float share = fast_exp(weight[j * WIDE + i] - most[i]);
                weight[j * WIDE + i] = share;
                total[i] += share;
            }
        product(C, keys, v_TC, 1, C, weight, sum_CW, false);
        long queries = T - first < WIDE ? T - first : WIDE;
        for (long i = 0; i < queries; i++)
            log_sum[first + i] = most[i] + std::log(total[i]);
        for (long c = 0; c < C; c++)
#pragma omp simd
            for (int i = 0; i < WIDE; i++) sum_CW[c * WIDE + i] /= total[i];
        put_rows(sum_CW, C, queries, mixed + first * D, D, spare);
    }
}

// Values to blocks; `spare` has room for a block.
static void values_to_blocks(const float* from, long from_row, long T, long C, float*,
                             float* to_BCW) {
    to_blocks(from, from_row, T, C, to_BCW);
}
static void values_to_blocks(const Half* from, long from_row, long T, long C,
                             float* spare, float* to_BCW) {
    for (long t = 0; t < T; t += WIDE) {
        long rows = T - t < WIDE ? T - t : WIDE;
        for (long r = 0; r < rows; r++)
            widen_row(from + (t + r) * from_row, C, spare + r * C);
        transpose(spare, C, rows, C, to_BCW + t * C, WIDE);
    }
}

template <class E>
static void attend_head_backward(const E* qkv, const float* cos, const float* sin,
                                 const float* cos_BCW, const float* sin_BCW,
                                 const E* mixed, const float* log_sum, const E* grad,
                                 long T, long D, long C, E* grad_qkv, float* space) {
    long row = 3 * D, padded = (T + WIDE - 1) / WIDE * WIDE;
    float scale = 1.0f / std::sqrt((float)C);
    float* q_TC = space;              // rotated, scaled
    float* k_TC = q_TC + padded * C;  // rotated
    float* g_TC = k_TC + padded * C;
    float* k_BCW = g_TC + padded * C;
    float* v_BCW = k_BCW + padded * C;
    float* dq_BCW = v_BCW + padded * C;    // sums over blocks of keys: zero at first
    float* along_T = dq_BCW + padded * C;  // grad times mixed, over channels
    float* share = along_T + padded;       // queries x WIDE keys
    float* slope = share + padded * WIDE;
    float* turned = slope + padded * WIDE;
    float* dk_CW = turned + WIDE * WIDE;
    float* dv_CW = dk_CW + C * WIDE;
    float* spare = dv_CW + C * WIDE;
    std::memset(dq_BCW, 0, padded * C * 4);
    for (long t = 0; t < T; t++) {
        const E *from = qkv + t * row, *g = grad + t * D, *value = mixed + t * D;
        const float *cos_C = cos + t * C, *sin_C = sin + t * C;
        rotate(from, cos_C, sin_C, C, scale, q_TC + t * C);
        rotate(from + D, cos_C, sin_C, C, 1.0f, k_TC + t * C);
        widen_row(g, C, g_TC + t * C);
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (long c = 0; c < C; c++) sum += widen(g[c]) * widen(value[c]);
        along_T[t] = sum;
    }
    to_blocks(k_TC, C, T, C, k_BCW);
    values_to_blocks(qkv + 2 * D, row, T, C, spare, v_BCW);
    for (long first = 0; first < T; first += WIDE) {
        long rows = T - first, keys = rows < WIDE ? rows : WIDE;
        const float *q = q_TC + first * C, *g = g_TC + first * C;
        product(rows, C, q, C, 1, k_BCW + first * C, share, false);
        product(rows, C, g, C, 1, v_BCW + first * C, slope, false);
        for (long i = 0; i < keys; i++)
            for (long j = i + 1; j < WIDE; j++) share[i * WIDE + j] = -1e30f;
        for (long i = 0; i < rows; i++) {
            float shift = log_sum[first + i], along = along_T[first + i];
#pragma omp simd
            for (int j = 0; j < WIDE; j++) {
                float p = fast_exp(share[i * WIDE + j] - shift);
                share[i * WIDE + j] = p;
                slope[i * WIDE + j] = p * (slope[i * WIDE + j] - along);
            }
        }
        product(C, rows, g, 1, C, share, dv_CW, false);
        product(C, rows, q, 1, C, slope, dk_CW, false);
        for (long i = 0; i < rows; i += WIDE) {
            long part = rows - i < WIDE ? rows - i : WIDE;
            transpose(slope + i * WIDE, WIDE, part, WIDE, turned, WIDE);
            product(C, keys, k_TC + first * C, 1, C, turned, dq_BCW + (first + i) * C,
                    true);
        }
        rotate_back(dk_CW, cos_BCW + first * C, sin_BCW + first * C, C, 1.0f);
        put_rows(dk_CW, C, keys, grad_qkv + first * row + D, row, spare);
        put_rows(dv_CW, C, keys, grad_qkv + first * row + 2 * D, row, spare);
    }
    for (long t = 0; t < T; t += WIDE) {
        rotate_back(dq_BCW + t * C, cos_BCW + t * C, sin_BCW + t * C, C, scale);
        put_rows(dq_BCW + t * C, C, T - t < WIDE ? T - t : WIDE, grad_qkv + t * row,
                 row, spare);
    }
}

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

// Causal attention with rotary positions; `sin_TC` is signed by half.
template <class E>
static void attend(const E* qkv_ST3HC, const float* cos_TC, const float* sin_TC,
                   E* mixed_STHC, float* log_sum_SHT, long S, long T, long H, long C) {
    long padded = (T + WIDE - 1) / WIDE * WIDE, D = H * C;
    Scratch scratch(padded * C + 3 * T * C + T * WIDE + 2 * C * WIDE);
    for (long s = 0; s < S; s++)
        for (long h = 0; h < H; h++)
            attend_head(qkv_ST3HC + s * T * 3 * D + h * C, cos_TC, sin_TC, T, D, C,
                        mixed_STHC + s * T * D + h * C, log_sum_SHT + (s * H + h) * T,
                        scratch.data);
}

// Gradient of `attend` for its qkv.
template <class E>
static void attend_backward(const E* qkv_ST3HC, const float* cos_TC,
                            const float* sin_TC, const E* mixed_STHC,
                            const float* log_sum_SHT, const E* grad_STHC,
                            E* grad_qkv_ST3HC, long S, long T, long H, long C) {
    long padded = (T + WIDE - 1) / WIDE * WIDE, D = H * C;
    Scratch scratch(padded * (6 * C + 1 + 2 * WIDE) + WIDE * WIDE + 3 * C * WIDE);
    Scratch tables(2 * padded * C);
    float *cos_BCW = tables.data, *sin_BCW = cos_BCW + padded * C;
    to_blocks(cos_TC, C, T, C, cos_BCW);
    to_blocks(sin_TC, C, T, C, sin_BCW);
    for (long s = 0; s < S; s++)
        for (long h = 0; h < H; h++) {
            long at = s * T * D + h * C;
            attend_head_backward(qkv_ST3HC + 3 * s * T * D + h * C, cos_TC, sin_TC,
                                 cos_BCW, sin_BCW, mixed_STHC + at,
                                 log_sum_SHT + (s * H + h) * T, grad_STHC + at, T, D, C,
                                 grad_qkv_ST3HC + 3 * s * T * D + h * C, scratch.data);
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

// What Python calls, in the order of `synth.fast.native`: each pass for fp32 and for bf16.
#define BOTH(PASS) {(void*)PASS<float>, (void*)PASS<Half>}
extern "C" {
void* passes[][2] = {BOTH(unit_rms),       BOTH(unit_rms_backward), BOTH(gated),
                     BOTH(gated_backward), BOTH(attend),            BOTH(attend_backward),
                     BOTH(cross_entropy)};
}
