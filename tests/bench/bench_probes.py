"""What the probes' tasks and exact references cost.

    python -m tests.bench.bench_probes

Prints, for each task, tokens per second of the training stream (one thread) against a
plain Python generator of the same distribution where there is one, the time of the
fixed test set with its exact distributions at horizon 1, and the examples behind them.
"""

import random
import time

import numpy as np

from synth.tasks.choice_points import ChoicePointsConfig
from synth.tasks.maze import MazeConfig
from synth.tasks.sources import SourcesConfig

TASKS = {
    "choice-points": ChoicePointsConfig(),
    "maze": MazeConfig(),
    "markov": SourcesConfig(order=2),
    "hidden": SourcesConfig(family="hidden"),
    "coupled": SourcesConfig(family="coupled"),
}


def seconds(work: object, repeats: int = 5) -> float:
    """Median time of calling `work`."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def plain_choice_points(config: ChoicePointsConfig, count: int) -> int:
    """The same examples in plain Python, token by token; the number of tokens."""
    rng, b, tokens = random.Random(0), config.branches, 0
    for _ in range(count):
        row = [">"]
        for section, length in enumerate(config.consequences):
            i, j = rng.randrange(b), rng.randrange(b)
            row += [f"a{i}", f"b{j}", *map(str, range(config.stretch))]
            branch = (i + (section + 1) * j) % b
            if rng.random() < config.slip:
                branch = (branch + rng.randrange(1, b)) % b
            row.append(f"C{branch}")
            row += [f"k{(branch + n) % b}" for n in range(1, length + 1)]
            row += [f"v{rng.randrange(b)}" for _ in range(config.variations)]
        tokens += len(row)
    return tokens


def main() -> None:
    """Measure and print."""
    for name, config in TASKS.items():
        task = config.build()
        context = 4 * task.length
        made = int((task.train_rows(0, 0, context).example_RT > 0).sum())
        stream = seconds(lambda task=task, c=context: task.train_rows(0, 1, c))
        line = f"{name:<14} {made / stream / 1e6:6.2f} M tokens/s"
        if name == "choice-points":
            count = 4000
            start = time.perf_counter()
            tokens = plain_choice_points(config, count)
            plain = tokens / (time.perf_counter() - start)
            line += f" ({made / stream / plain:.1f} x plain Python)"
        fixed = seconds(lambda task=task: task.evaluation_sets(500), 3)
        rows = task.evaluation_sets(500)[0].rows
        exact = seconds(lambda task=task, r=rows: task.distributions(r, 1), 3)
        print(f"{line}; 500 test examples {fixed:.3f} s, exact {exact:.3f} s")


if __name__ == "__main__":
    main()
