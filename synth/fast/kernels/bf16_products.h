// Matrix products with bf16 factors and fp32 sums, and the layouts that they ask for: on
// tiles (AMX), else on vectors (avx512_bf16). BF16_PRODUCTS is undefined for processors
// with neither; `bf16_is_fast` says whether they beat fp32 here.
//
// The left factor lies in rows, the right one in rows of pairs: numbers (2k, n) and
// (2k + 1, n) are side by side at 2n of row k.
#pragma once

#include "vectors.h"

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__) && \
    defined(__linux__)
#define BF16_PRODUCTS
#include <immintrin.h>

constexpr long DEPTH = 32;  // numbers of a tile's row; sizes are multiples of it

#ifdef __AMX_BF16__
#include "bf16_tiles.h"
#else
#include "bf16_vectors.h"
#endif

// out (rows x columns) (+)= a b; rows and columns in multiples of 16, depth of DEPTH.
static void bf16_product(long rows, long columns, long depth, const Half* a, long a_row,
                         const Half* b, long b_row, float* out, long out_row,
                         bool add = false) {
    for (long n = 0; n < columns; n += 32)
        for (long m = 0; m < rows; m += 32) {
            auto block = m + 16 < rows
                             ? (n + 16 < columns ? tile_product<2, 2> : tile_product<2, 1>)
                             : (n + 16 < columns ? tile_product<1, 2> : tile_product<1, 1>);
            block(depth, a + m * a_row, a_row, b + 2 * n, b_row, out + m * out_row + n,
                  out_row, add);
        }
}

// Rows of bf16 numbers as rows of pairs. `rows` is even, `columns` a multiple of DEPTH;
// each row of pairs begins `to_row` numbers after the last.
static void pair_rows(const Half* from, long from_row, long rows, long columns, Half* to,
                      long to_row) {
    alignas(64) static const uint16_t order[32] = {
        0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
        8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
    __m512i low = _mm512_load_si512(order);
    __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    for (long r = 0; r < rows; r += 2)
        for (long c = 0; c < columns; c += DEPTH) {
            const Half* at = from + r * from_row + c;
            __m512i a = _mm512_loadu_si512((const void*)at);
            __m512i b = _mm512_loadu_si512((const void*)(at + from_row));
            Half* pairs = to + r / 2 * to_row + 2 * c;
            _mm512_storeu_si512(pairs, _mm512_permutex2var_epi16(a, low, b));
            _mm512_storeu_si512(pairs + DEPTH, _mm512_permutex2var_epi16(a, high, b));
        }
}

// Transposes a matrix of pairs, rows x columns, both multiples of 16. Rows of numbers
// become the right factor that is their transpose, rows of pairs the left one.
static void turn_pairs(const Half* from, long from_row, long rows, long columns, Half* to,
                       long to_row) {
    for (long r = 0; r < rows; r += 16)
        for (long c = 0; c < columns; c += 16)
            transpose_square((const float*)(from + r * from_row + 2 * c), from_row / 2, 16,
                             (float*)(to + c * to_row + 2 * r), to_row / 2);
}

// Right factors in panels: DEPTH columns of pairs each, so that what one panel holds lies
// together in the cache. From their rows (depth x columns), or from those of the transpose.
static void pair_panels(const Half* from, long depth, long columns, Half* to) {
    for (long n = 0; n < columns; n += DEPTH)
        pair_rows(from + n, columns, depth, DEPTH, to + n * depth, 2 * DEPTH);
}
static void turn_panels(const Half* from, long depth, long columns, Half* to) {
    for (long n = 0; n < columns; n += DEPTH)
        turn_pairs(from + n * depth, depth, DEPTH, depth / 2, to + n * depth, 2 * DEPTH);
}

// out (rows x columns) (+)= a b, b in panels; all sizes are multiples of DEPTH.
static void panel_product(long rows, long columns, long depth, const Half* a, long a_row,
                          const Half* panels, float* out, long out_row, bool add) {
    for (long n = 0; n < columns; n += DEPTH)
        for (long m = 0; m < rows; m += DEPTH)
            tile_product<2, 2>(depth, a + m * a_row, a_row, panels + n * depth, 2 * DEPTH,
                               out + m * out_row + n, out_row, add);
}

// 2^x to 5e-5 relative, a fiftieth of the rounding of bf16, and 0 for x below -120.
static inline Vector fast_exp2(Vector x) {
    __m512 whole = _mm512_roundscale_ps((__m512)x, 0);
    Vector r = x - (Vector)whole;  // the series of e^(r ln 2)
    Vector y = r * 9.61812911e-3f + 5.55041087e-2f;
    y = y * r + 2.40226507e-1f;
    y = y * r + 6.93147181e-1f;
    y = y * r + 1.0f;
    __m512 low = _mm512_set1_ps(-120.0f);
    __mmask16 seen = _mm512_cmp_ps_mask((__m512)x, low, _CMP_NLT_UQ);
    return (Vector)_mm512_maskz_scalef_ps(seen, (__m512)y, whole);
}

static inline __m256i to_bf16(Vector value) {
    return (__m256i)_mm512_cvtneps_pbh((__m512)value);
}

static inline void store_row(__m256i value, Half* to) {
    _mm256_storeu_si256((__m256i*)to, value);
}

// The first `count` numbers of a vector, at most 16.
static inline __mmask16 first(long count) {
    return count < LANES ? (__mmask16)((1u << count) - 1) : (__mmask16)0xffff;
}
static inline Vector load_first(const float* from, __mmask16 mask) {
    return (Vector)_mm512_maskz_loadu_ps(mask, from);
}
static inline Vector load_first(const Half* from, __mmask16 mask) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from));
    return (Vector)_mm512_slli_epi32(wide, 16);
}
static inline void store_first(Vector value, Half* to, __mmask16 mask) {
    _mm256_mask_storeu_epi16(to, mask, to_bf16(value));
}

// Two rows of numbers, rounded.
static inline __m512i round_two(Vector even, Vector odd) {
    return (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even);
}
static inline void store_rows(__m512i two, Half* even, Half* odd) {
    _mm256_storeu_si256((__m256i*)even, _mm512_castsi512_si256(two));
    _mm256_storeu_si256((__m256i*)odd, _mm512_extracti64x4_epi64(two, 1));
}
// Numbers of the first row next to those of the second.
static inline void store_pairs(__m512i two, Half* to) {
    alignas(64) static const uint16_t order[32] = {
        0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    __m512i pairs = _mm512_permutexvar_epi16(_mm512_load_si512(order), two);
    _mm512_storeu_si512(to, pairs);
}

// Like `panel_product`, rounded to bf16.
static void rounded_product(long rows, long columns, long depth, const Half* a, long a_row,
                            const Half* panels, Half* out, long out_row) {
    alignas(64) float square[DEPTH * DEPTH];
    for (long n = 0; n < columns; n += DEPTH)
        for (long m = 0; m < rows; m += DEPTH) {
            tile_product<2, 2>(depth, a + m * a_row, a_row, panels + n * depth, 2 * DEPTH,
                               square, DEPTH, false);
            for (long r = 0; r < DEPTH; r++)
                for (long c = 0; c < DEPTH; c += LANES)
                    store_row(to_bf16(load(square + r * DEPTH + c)),
                              out + (m + r) * out_row + n + c);
        }
}
#endif
