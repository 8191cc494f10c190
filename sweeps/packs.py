"""Which runs train together: packs of lanes that share every shape.

A pack is no part of a run's identity, so it may be cut anew on every start.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence

from synth.config import RunConfig

Pack = tuple[RunConfig, ...]


def cut(configs: Iterable[RunConfig], lanes: int) -> list[Pack]:
    """Packs of at most `lanes` runs that share shapes, in the order of the sweep."""
    groups: dict[str, list[RunConfig]] = defaultdict(list)
    for config in configs:
        groups[config.pack_key].append(config)
    return [part for group in groups.values() for part in _parts(group, lanes)]


def _parts(group: Sequence[RunConfig], lanes: int) -> list[Pack]:
    """As few parts as the lanes allow, their sizes equal to within one."""
    count = -(-len(group) // lanes)
    edges = [len(group) * place // count for place in range(count + 1)]
    return [tuple(group[a:b]) for a, b in itertools.pairwise(edges) if a < b]
