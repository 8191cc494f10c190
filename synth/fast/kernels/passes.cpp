// What `synth.fast.native` compiles: layers, and passes over activations, on one CPU
// thread.
//
// What torch does in a dozen passes over memory is done here in one. Every function works
// in an order that depends on nothing but the sizes of one lane: a lane of a pack gets the
// bits that it gets alone. No library is used.
//
// Activations, weights and their gradients are fp32 or bf16 (E); what is computed from
// them is fp32 until it is stored, and so are losses, rates and rotation tables. The
// products of bf16 attention and bf16 layers have bf16 factors, where the processor is
// faster so.

#include "bf16_layers.h"
#include "registers.h"

#ifdef BF16_PRODUCTS
#define IN_BF16(PASS) bf16_is_fast ? (void*)bf16_##PASS : (void*)PASS<Half>
#else
constexpr bool bf16_is_fast = false;
#define IN_BF16(PASS) (void*)PASS<Half>
#endif

// In the order of `synth.fast.native`: each pass for fp32 and for bf16.
#define BOTH(PASS) {(void*)PASS<float>, (void*)PASS<Half>}
#define OWN(PASS) {(void*)PASS<float>, IN_BF16(PASS)}
extern "C" {
void* passes[][2] = {
    BOTH(unit_rms), BOTH(unit_rms_backward), BOTH(gated),  BOTH(gated_backward),
    OWN(attend),    OWN(attend_backward),    BOTH(cross_entropy),
    BOTH(attend_registers), BOTH(attend_registers_backward),
    OWN(layers),    OWN(layers_backward),    OWN(kept_by_layers),
};
long block = WIDE;
// The widest layers that are faster in one call than with products of torch, which are fp32
// ones of widened factors for bf16 where the processor has AVX2 alone.
#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr bool widened = true;
#else
constexpr bool widened = false;
#endif
long widest[2] = {wide_amd ? 512 : 128,
                  bf16_is_fast || widened ? (wide_amd ? 512 : 128) : 48};
}
