"""Which runs train together: packs of lanes that share every shape.

Packs are not part of a run's identity, so each launch cuts its own. The number of lanes
affects only speed and memory.
"""

import itertools
import os
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from sweeps.costs import model_description
from synth.config import RunConfig
from synth.run.execution import Execution

PackRuns = tuple[RunConfig, ...]

MOST_LANES = 16
"""The default maximum: more lanes gain nothing."""
MOST_IN_A_PACK = 1 << 30


def cut_packs(
    configs: Iterable[RunConfig],
    lanes: int | Callable[[RunConfig, int, int], int],
    most: Mapping[str, int] | None = None,
) -> list[PackRuns]:
    """Cut runs into packs that share shapes, in the order of the sweep.

    `lanes` is the maximum size of a pack, or a function of (a run, the number of runs
    that share its shapes, the number of such groups) that returns it. `most` bounds the
    packs of some runs; runs with different bounds do not share packs.
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
        packs += _split_evenly(group, min(fit, bound))
    return packs


def lane_rule(execution: Execution, slots: int) -> Callable[[RunConfig, int, int], int]:
    """A rule for the lanes of a group of runs: by model size, bounded by memory.

    It leaves at least one pack for every slot.
    """
    memory = memory_per_slot(execution, slots)

    def lanes(config: RunConfig, runs: int, groups: int) -> int:
        fit = int(memory // bytes_per_lane(config))
        packs_wanted = -(-slots // groups)
        usual = default_lanes(config, execution)
        return max(1, min(MOST_LANES, usual, fit, runs // packs_wanted))

    return lanes


def default_lanes(config: RunConfig, execution: Execution) -> int:
    """Lanes by the size of the model.

    On a CPU a few lanes hide the overhead of small operations, which is negligible for
    large models. A GPU needs about 64 thousand tokens in a step.
    """
    if execution.device == "cuda":
        return max(1, 2**16 // config.training.tokens_per_step)
    return 4 if config.model.shape.nominal_parameters < 200_000 else 1


def bytes_per_lane(config: RunConfig) -> float:
    """Bytes of one lane in training: weights, gradients, moments, activations.

    Activations are counted as 34 values for each token, layer and unit of width, and two
    rows of the vocabulary for each token; the estimate errs on the high side.
    """
    model = model_description(config)
    training = config.training
    layers = model["trunk_layers"] + model["head_layers"]
    per_token = 34 * model["width"] * layers + 2 * model["vocabulary"]
    attention = model["attention_heads"] * training.context * layers
    return 4.0 * (
        5 * model["parameters"] + training.tokens_per_step * (per_token + attention)
    )


def memory_per_slot(execution: Execution, slots: int) -> float:
    """Bytes that one worker may use: its share of four fifths of free memory."""
    if execution.device == "cuda":
        return 0.8 * _gpu_bytes() / slots
    try:
        pages: float = os.sysconf("SC_AVPHYS_PAGES")
    except ValueError:  # macOS does not say how much is free
        pages = os.sysconf("SC_PHYS_PAGES") / 2
    return 0.8 * pages * os.sysconf("SC_PAGE_SIZE") / slots


def _gpu_bytes() -> float:
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        return float(done.stdout.split()[0]) * 2**20
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
        return 16 * 2.0**30


def _split_evenly(group: Sequence[RunConfig], lanes: int) -> list[PackRuns]:
    """As few packs as `lanes` allows, with sizes that differ by at most one."""
    count = -(-len(group) // lanes)
    edges = [len(group) * place // count for place in range(count + 1)]
    return [tuple(group[a:b]) for a, b in itertools.pairwise(edges) if a < b]
