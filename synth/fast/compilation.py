"""The rule that chooses the form of a run's training step.

    eager     torch's own operations; the reference
    native    on one CPU thread: the passes of `synth.fast.native` (5 s to build, once)
    torch     torch.compile, layer by layer (tens of seconds, in every process again)
    graph     torch, and the whole step as one launch (`synth.fast.replay`); CUDA

`auto` takes native passes for runs that would train for ten seconds, and is eager
otherwise, so short runs never wait for a compiler. The estimate depends on the run's
configuration only, so every resume, worker and pack chooses the same form, which a
measured speed would not guarantee. torch.compile is opt-in: in fp32 on a CPU it gained
nothing over eager.
"""

from typing import Literal

from synth.run.execution import Execution

StepForm = Literal["eager", "native", "torch", "graph"]

SECONDS_WORTH_COMPILING = 10.0
SECONDS_PER_TOKEN = 15e-6
"""Overhead of a token of a small model on one core in eager mode, without products."""
FLOPS_PER_SECOND = 80e9
"""Nominal speed of fp32 products on one core."""


def nominal_seconds(tokens: int, flops_per_token: float) -> float:
    """Eager training time of one run on one nominal core.

    >>> round(nominal_seconds(800 * 1024, 105_000))
    13
    """
    return tokens * (SECONDS_PER_TOKEN + flops_per_token / FLOPS_PER_SECOND)


def step_form(execution: Execution, tokens: int, flops_per_token: float) -> StepForm:
    """The form for a run of so many tokens, if a compiler is available."""
    if execution.compile == "on" and execution.device == "cuda":
        return "graph"
    suits = execution.device == "cpu" and execution.threads == 1
    if execution.compile == "on":
        return "native" if suits else "torch"
    long = nominal_seconds(tokens, flops_per_token) >= SECONDS_WORTH_COMPILING
    return "native" if execution.compile == "auto" and suits and long else "eager"
