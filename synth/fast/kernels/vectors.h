// Vectors of floats, bf16 numbers, e^x, and transposed squares.
#pragma once

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

// AMD with AVX-512: torch's fp32 products, which are MKL's, do not use its widest vectors.
#if defined(__AVX512F__)
static const bool wide_amd = (__builtin_cpu_init(), __builtin_cpu_is("amd"));
#else
constexpr bool wide_amd = false;
#endif

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef int32_t Whole __attribute__((vector_size(4 * LANES)));
typedef float Loose
    __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline Vector load(const float* from) { return *(const Loose*)from; }
static inline void store(float* to, Vector value) { *(Loose*)to = value; }

static inline Vector larger(Vector a, Vector b) { return a > b ? a : b; }

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

template <class E>
static inline void widen_row(const E* from, long C, float* __restrict to) {
#pragma omp simd
    for (long c = 0; c < C; c++) to[c] = widen(from[c]);
}

// e^x to 2e-7 relative for |x| < 87 and 0 below, without branches (the polynomial of
// Cephes' expf). Results are never denormal, which would cost a hundred cycles in each
// product that meets them.
static inline Vector fast_exp(Vector exponent) {
    Vector low = Vector{} - 87.0f, x = exponent < low ? low : exponent;
    x = x > -low ? -low : x;
    Vector shifted = x * 1.44269504f + 12582912.0f;  // rounds to an integer
    Vector whole = shifted - 12582912.0f;
    Vector r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    Vector y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    // The integer is in the low bits of `shifted`; what is above them is shifted out.
    Vector scale = (Vector)(((Whole)shifted + 127) << 23);
    return exponent < low ? Vector{} : y * scale;
}

// The same for one number, for loops that the compiler turns into vectors.
static inline float fast_exp(float exponent) {
    float x = exponent < -87.0f ? -87.0f : (exponent > 87.0f ? 87.0f : exponent);
    float shifted = x * 1.44269504f + 12582912.0f;
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

// Zeroed memory for one call.
struct Scratch {
    float *data, *next;
    explicit Scratch(long count) {
        long bytes = (count * 4 + 63) / 64 * 64 + 64;
        data = next = (float*)std::aligned_alloc(64, bytes);
        std::memset(data, 0, bytes);
    }
    ~Scratch() { std::free(data); }
    // The next `count` floats, a whole number of vectors.
    float* take(long count) {
        float* taken = next;
        next += (count + LANES - 1) / LANES * LANES;
        return taken;
    }
};

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
#endif

// to[c][r] = from[r][c] for a square of LANES x LANES, of which only `rows` rows are
// there; the others are taken for zeros.
static inline void transpose_square(const float* from, long from_row, long rows,
                                    float* to, long to_row) {
#ifdef SHUFFLES  // interleaving halves log2(LANES) times transposes
    Vector row[LANES], next[LANES];
    for (int r = 0; r < LANES; r++)
        row[r] = r < rows ? load(from + r * from_row) : Vector{};
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
#else
    for (int c = 0; c < LANES; c++)
        for (int r = 0; r < LANES; r++)
            to[c * to_row + r] = r < rows ? from[r * from_row + c] : 0.0f;
#endif
}
