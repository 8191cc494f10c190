// Blocks of a bf16 product on vectors (avx512_bf16).
#pragma once

// AMD multiplies vectors of bf16 at twice the rate of fp32, Intel at half of it.
static const bool bf16_is_fast = wide_amd;

struct TileShapes {
    TileShapes() {}  // nothing to set
};

// 16 M x 16 N numbers of the result.
template <int M, int N>
static inline void tile_product(long depth, const Half* a, long a_row, const Half* b,
                                long b_row, float* out, long out_row, bool add) {
    constexpr int AT_ONCE = N > 1 ? 8 : 16;  // sums enough to hide how long each takes
    for (int m = 0; m < 16 * M; m += AT_ONCE) {
        __m512 sum[AT_ONCE][N];
        for (int r = 0; r < AT_ONCE; r++)
            for (int n = 0; n < N; n++)
                sum[r][n] = add ? _mm512_loadu_ps(out + r * out_row + 16 * n)
                                : _mm512_setzero_ps();
        const Half* pairs = b;
        for (long k = 0; k < depth; k += 2, pairs += b_row) {
            __m512bh columns[N];
            for (int n = 0; n < N; n++)
                columns[n] = (__m512bh)_mm512_loadu_si512(pairs + 32 * n);
#pragma GCC unroll 16
            for (int r = 0; r < AT_ONCE; r++) {
                int32_t pair;
                std::memcpy(&pair, a + r * a_row + k, 4);
                __m512bh factor = (__m512bh)_mm512_set1_epi32(pair);
                for (int n = 0; n < N; n++)
                    sum[r][n] = _mm512_dpbf16_ps(sum[r][n], factor, columns[n]);
            }
        }
        for (int r = 0; r < AT_ONCE; r++)
            for (int n = 0; n < N; n++)
                _mm512_storeu_ps(out + r * out_row + 16 * n, sum[r][n]);
        a += AT_ONCE * a_row, out += AT_ONCE * out_row;
    }
}
