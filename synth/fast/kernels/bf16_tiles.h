// Blocks of a bf16 product on tiles (AMX).
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

// Linux lets a process use tiles only after it has asked (ARCH_REQ_XCOMP_PERM).
static const bool bf16_is_fast = syscall(SYS_arch_prctl, 0x1023, 18) == 0;

// Sets the shape of all tiles, 16 rows of 64 bytes, for one call.
struct TileShapes {
    TileShapes() {
        struct {
            uint8_t palette = 1, start = 0, reserved[14] = {};
            uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
            uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
        } shapes;
        // The compiler's intrinsic says that 8 of its 64 bytes are read.
        asm volatile("" : : "r"(&shapes) : "memory");
        _tile_loadconfig(&shapes);
    }
    ~TileShapes() { _tile_release(); }
};

// 16 M x 16 N numbers of the result.
template <int M, int N>
static inline void tile_product(long depth, const Half* a, long a_row, const Half* b,
                                long b_row, float* out, long out_row, bool add) {
    long a_bytes = 2 * a_row, b_bytes = 2 * b_row, bytes = 4 * out_row;
    float* below = out + 16 * out_row;
    asm volatile("" ::: "memory");  // the compiler does not know what tile loads read
    if (add) {
        _tile_loadd(0, out, bytes);
        if (N > 1) _tile_loadd(1, out + 16, bytes);
        if (M > 1) _tile_loadd(2, below, bytes);
        if (M > 1 && N > 1) _tile_loadd(3, below + 16, bytes);
    } else {
        _tile_zero(0);
        if (N > 1) _tile_zero(1);
        if (M > 1) _tile_zero(2);
        if (M > 1 && N > 1) _tile_zero(3);
    }
    for (long k = 0; k < depth; k += DEPTH, a += DEPTH, b += DEPTH / 2 * b_row) {
        _tile_loadd(6, b, b_bytes);
        _tile_loadd(4, a, a_bytes);
        _tile_dpbf16ps(0, 4, 6);
        if (N > 1) _tile_loadd(7, b + 32, b_bytes);
        if (N > 1) _tile_dpbf16ps(1, 4, 7);
        if (M > 1) _tile_loadd(5, a + 16 * a_row, a_bytes);
        if (M > 1) _tile_dpbf16ps(2, 5, 6);
        if (M > 1 && N > 1) _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, out, bytes);
    if (N > 1) _tile_stored(1, out + 16, bytes);
    if (M > 1) _tile_stored(2, below, bytes);
    if (M > 1 && N > 1) _tile_stored(3, below + 16, bytes);
}
