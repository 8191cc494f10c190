"""Which form of the training step a run gets: a stated rule, and its reasons.

    eager     torch's operations as they come; the reference
    native    on one CPU thread: the passes of `synth.fast.native` (2 s to build, once)
    torch     torch.compile, layer by layer (tens of seconds, in every process again)
    graph     torch, and the whole step as one launch (`synth.fast.replay`); CUDA

`auto` takes native passes for runs that would train for about a minute, and is eager
otherwise: short runs never wait for a compiler. The estimate is arithmetic on the run's
configuration alone, so the choice is the same on every resume, in every worker and pack;
a measured speed would not be. torch.compile is used when asked for only: in fp32 on a CPU
it was measured to gain nothing over eager.
"""

from typing import Literal

from synth.run.execution import Execution

StepForm = Literal["eager", "native", "torch", "graph"]

SECONDS_WORTH_COMPILING = 60.0
SECONDS_PER_TOKEN = 15e-6
"""What a token of a small model costs a core in eager mode, apart from its products."""
FLOPS_PER_SECOND = 80e9
"""What a core makes of fp32 products; a nominal value."""


def nominal_seconds(tokens: int, flops_per_token: float) -> float:
    """Eager training time of one run on one nominal core.

    >>> round(nominal_seconds(800 * 1024, 105_000))
    13
    """
    return tokens * (SECONDS_PER_TOKEN + flops_per_token / FLOPS_PER_SECOND)


def step_form(execution: Execution, tokens: int, flops_per_token: float) -> StepForm:
    """The form that a run of so many tokens should have, compilers permitting."""
    if execution.compile == "on" and execution.device == "cuda":
        return "graph"
    suits = execution.device == "cpu" and execution.threads == 1
    if execution.compile == "on":
        return "native" if suits else "torch"
    long = nominal_seconds(tokens, flops_per_token) >= SECONDS_WORTH_COMPILING
    return "native" if execution.compile == "auto" and suits and long else "eager"
