"""Which runs train together: packs of lanes that share every shape.

A pack is no part of a run's identity, so it may be cut anew on every start. How many
lanes a pack gets is a matter of speed and memory alone.
"""

import itertools
import os
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from sweeps.costs import described
from synth.config import RunConfig
from synth.run.execution import Execution

PackRuns = tuple[RunConfig, ...]

MOST_LANES = 16
"""Beyond which more lanes gain nothing, unless a person asks for them."""
MOST_IN_A_PACK = 1 << 30


def cut(
    configs: Iterable[RunConfig],
    lanes: int | Callable[[RunConfig, int, int], int],
    most: Mapping[str, int] | None = None,
) -> list[PackRuns]:
    """Packs of runs that share shapes, in the order of the sweep.

    `lanes` is the most that a pack may hold, or a function of one of its runs, of how
    many share its shapes, and of the number of such groups. Runs in `most` share packs
    of at most so many with each other alone.
    """
    groups: dict[tuple[str, int], list[RunConfig]] = defaultdict(list)
    for config in configs:
        bound = (most or {}).get(config.run_id, MOST_IN_A_PACK)
        groups[config.pack_key, bound].append(config)
    packs = []
    for (_, bound), group in groups.items():
        fit = lanes
        if not isinstance(fit, int):
            fit = fit(group[0], len(group), len(groups))
        packs += _parts(group, min(fit, bound))
    return packs


def chooser(execution: Execution, slots: int) -> Callable[[RunConfig, int, int], int]:
    """Lanes for a group of runs: by size, as far as the memory of a slot goes.

    Never so many that slots stand idle.
    """
    memory = memory_per_slot(execution, slots)

    def lanes(config: RunConfig, runs: int, groups: int) -> int:
        fit = int(memory // bytes_per_lane(config))
        packs_wanted = -(-slots // groups)
        usual = usual_lanes(config, execution)
        return max(1, min(MOST_LANES, usual, fit, runs // packs_wanted))

    return lanes


def usual_lanes(config: RunConfig, execution: Execution) -> int:
    """What suits the size of a model.

    On a CPU a few lanes hide the overhead of small operations, which large models do
    not have. A GPU wants some 64 thousand tokens in a step.
    """
    if execution.device == "cuda":
        return max(1, 2**16 // config.training.tokens_per_step)
    return 4 if config.model.shape.nominal_parameters < 200_000 else 1


def bytes_per_lane(config: RunConfig) -> float:
    """Memory of one lane in training: weights, gradients, moments, activations.

    Activations are counted as 34 values a token, layer and unit of width, and two rows
    of the vocabulary a token: meant to be too high rather than too low.
    """
    model = described(config)
    training = config.training
    layers = model["trunk_layers"] + model["head_layers"]
    per_token = 34 * model["width"] * layers + 2 * model["vocabulary"]
    attention = model["attention_heads"] * training.context * layers
    return 4.0 * (
        5 * model["parameters"] + training.tokens_per_step * (per_token + attention)
    )


def memory_per_slot(execution: Execution, slots: int) -> float:
    """Bytes that one worker may fill, with a fifth left free."""
    if execution.device == "cuda":
        return 0.8 * _gpu_bytes() / slots
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0.8 * pages / slots


def _gpu_bytes() -> float:
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        return float(done.stdout.split()[0]) * 2**20
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
        return 16 * 2.0**30


def _parts(group: Sequence[RunConfig], lanes: int) -> list[PackRuns]:
    """As few parts as the lanes allow, their sizes equal to within one."""
    count = -(-len(group) // lanes)
    edges = [len(group) * place // count for place in range(count + 1)]
    return [tuple(group[a:b]) for a, b in itertools.pairwise(edges) if a < b]
