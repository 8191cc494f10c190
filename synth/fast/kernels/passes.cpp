// What `synth.fast.native` compiles: layers, and passes over activations, on one CPU
// thread.
//
// What torch does in a dozen passes over memory is done here in one. Every function works
// in an order that depends on nothing but the sizes of one lane: a lane of a pack gets the
// bits that it gets alone. No library is used.
//
// Activations, weights and their gradients are fp32 or bf16 (E); what is computed from
// them is fp32 until it is stored, and so are losses, rates and rotation tables. The
// products of bf16 attention alone have bf16 factors, where the processor is faster so.

#include "bf16_attention.h"
#include "layers.h"

#ifdef BF16_PRODUCTS
#define IN_BF16(PASS) tiles_allowed ? (void*)bf16_##PASS : (void*)PASS<Half>
#else
#define IN_BF16(PASS) (void*)PASS<Half>
#endif

// In the order of `synth.fast.native`: each pass for fp32 and for bf16.
#define BOTH(PASS) {(void*)PASS<float>, (void*)PASS<Half>}
extern "C" {
void* passes[][2] = {
    BOTH(unit_rms),        BOTH(unit_rms_backward),
    BOTH(gated),           BOTH(gated_backward),
    {(void*)attend<float>, IN_BF16(attend)},
    {(void*)attend_backward<float>, IN_BF16(attend_backward)},
    BOTH(cross_entropy),   BOTH(layers),
    BOTH(layers_backward), {(void*)kept_by_layers, (void*)kept_by_layers},
};
long block = WIDE;
}
