"""Examples and tokens per second of the generators of tasks, and of their test sets.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_tasks [--blocks 9] [--examples 2000]

One line a task at its defaults, on one thread: a median over blocks of the training
stream in rows of 256 tokens, and the CPU seconds that one test set takes. A generator is
fast enough if a block takes less than a tenth of the time of training on it; at 100k
parameters a CPU core trains on 54,000 tokens a second.
"""

import argparse
import statistics
import time

from synth.families.family import members

CONTEXT = 256
LEFT_OUT = ("text", "stories")
"""One needs a file of yours; the other has a bench of its own."""


def measured(kind: str, blocks: int, examples: int) -> tuple[float, float, float]:
    """Examples a second, tokens a second, and CPU seconds for a test set."""
    task = members("task")[kind]().build()
    task.train_rows(0, 0, CONTEXT)  # tables and pools are made once
    rates = []
    for block in range(1, blocks + 1):
        began = time.process_time()
        rows = task.train_rows(0, block, CONTEXT)
        seconds = time.process_time() - began
        shown = int(rows.example_RT.max(axis=1).sum())
        tokens = int((rows.example_RT > 0).sum())
        rates.append((shown / seconds, tokens / seconds))
    began = time.process_time()
    task.evaluation_sets(examples)
    test_seconds = time.process_time() - began
    by_example, by_token = zip(*rates, strict=True)
    return statistics.median(by_example), statistics.median(by_token), test_seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--examples", type=int, default=2000)
    given = parser.parse_args()
    print(f"{'task':<16}{'examples/s':>12}{'tokens/s':>14}{'test set, s':>14}")
    for kind in members("task"):
        if kind not in LEFT_OUT:
            examples, tokens, seconds = measured(kind, given.blocks, given.examples)
            print(f"{kind:<16}{examples:>12,.0f}{tokens:>14,.0f}{seconds:>14.2f}")


if __name__ == "__main__":
    main()
