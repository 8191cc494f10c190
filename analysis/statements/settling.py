"""The commands that would settle a claim, and what they cost."""

from sweeps.catalogue import CATALOGUE
from synth.command_words import as_typed

COSTS = {
    "best-horizon": "12 core-hours",
    "choice-points-night": "17 core-hours",
    "information-night": "5 core-hours",
    "star-night": "6 core-hours",
    "prediction-law-small": "3.4e18 FLOP",
    "star-paper": "7.2e19 FLOP",
    "polynomial-paper": "1.1e21 FLOP",
    "polynomial-sizes-paper": "2.5e21 FLOP",
    "polynomial-pause-paper": "3.4e21 FLOP",
    "induction-paper": "2.2e22 FLOP",
    "induction-books-paper": "2.2e22 FLOP",
}
"""Cost of tuning and training, from `sweeps plan`: hours of a quiet core, or executed FLOP
where CPUs cannot do it."""


def settling_command(
    name: str,
    scale: str,
    probe: str = "",
    arms: str = "",
    seeds: int = 5,
    keep_every: int = 0,
) -> str:
    """Commands for some seeds of a sweep at the best rate of each cell, then a probe.

    A probe of every step needs the checkpoints of every `keep_every` steps.
    """
    cells = f"{name} --scale {scale}" + (f" --arms {arms}" if arms else "")
    single = len(CATALOGUE[name].scales) == 1
    folder = name if single else f"{name}-{scale}"
    tuned = f"runs/{folder}-tuning/tuned.json"
    train = f"sweeps run {cells} --seeds {seeds} --tuned {tuned}"
    if keep_every:
        train += f" --keep-checkpoints-every-steps {keep_every}"
    steps = [as_typed(f"sweeps tune {cells}"), as_typed(train)]
    if probe:
        probed = probe.format(f"runs/{folder}-tuned/*")
        steps.append(as_typed(f"synth probe {probed} --save"))
    return f"{'; '.join(steps)}  # {COSTS[folder]}"
