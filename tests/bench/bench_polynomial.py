"""Examples per second of polynomial arithmetic: vectorised against a plain generator.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_polynomial [--repeats 15]

Both sides draw an expression with m uniform in 1..5 (or fixed), evaluate it and write
its tokens, question, `=`, answer and end. They take turns in one process on one thread;
the table gives medians. Time of the vectorised side counts every candidate, rates count
only the seven eighths that are kept for training. The allocator is first brought into
the state that it has in a training process, where large arrays have come and gone;
before that it hands memory back to the system, and page faults are what is measured.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable

import numpy as np

from synth.seeding import generator
from synth.tasks.packing import pack_rows
from synth.tasks.polynomial import expressions as trees
from synth.tasks.polynomial.arithmetic import (
    BLOCK,
    Polynomial,
    PolynomialConfig,
)
from synth.tasks.polynomial.infix import (
    FIRST_COEFFICIENT,
    SYMBOLS,
    Printed,
    print_infix,
)

P, K = 7, 5
CODE = {symbol: index for index, symbol in enumerate(SYMBOLS)}
PLAIN_EXAMPLES = 1000


def plain_example(rng: random.Random, operations: int) -> list[int]:
    """One example by recursion, as one would write it first."""
    tokens, value = plain_expression(rng, operations)
    answer = [FIRST_COEFFICIENT + c for c in value]
    return [*tokens, CODE["="], *answer, CODE["."]]


def plain_expression(
    rng: random.Random, operations: int
) -> tuple[list[int], list[int]]:
    """Tokens and value of one expression."""
    if operations == 0:
        value = [rng.randrange(P) for _ in range(K)]
        coefficients = [FIRST_COEFFICIENT + c for c in value]
        return [CODE["["], *coefficients, CODE["]"]], value
    sign = rng.choice("-+*@")
    if sign == "-":
        tokens, value = plain_expression(rng, operations - 1)
        return [CODE["-"], *tokens], [-c % P for c in value]
    left = rng.randrange(operations)
    tokens_a, a = plain_expression(rng, left)
    tokens_b, b = plain_expression(rng, operations - 1 - left)
    tokens = [CODE["("], *tokens_a, CODE[sign], *tokens_b, CODE[")"]]
    if sign == "+":
        return tokens, [(x + y) % P for x, y in zip(a, b, strict=True)]
    if sign == "*":
        return tokens, plain_product(a, b)
    value = [0] * K
    for c in reversed(a):
        value = plain_product(value, b)
        value[0] = (value[0] + c) % P
    return tokens, value


def plain_product(a: list[int], b: list[int]) -> list[int]:
    """The truncated product of two lists of coefficients."""
    return [sum(a[j] * b[i - j] for j in range(i + 1)) % P for i in range(K)]


def vectorised(task: Polynomial, block: int, operations: int | None) -> Printed:
    """The generator up to tokens: what `Polynomial.train_rows` does before packing."""
    rng = generator(0, "bench", block)
    operations_N = (
        np.full(BLOCK, operations) if operations else rng.integers(1, 6, BLOCK)
    )
    drawn = task._draw(rng, operations_N)
    kept = drawn.take(trees.side_of(drawn) > 0)
    return print_infix(kept, trees.values(kept, task.ring), task.ring, 0)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(operations: int | None, repeats: int) -> list[str]:
    """Table rows for one law of m."""
    task = PolynomialConfig().build()
    shown = vectorised(task, 0, operations)
    rng = random.Random(0)

    def plain() -> None:
        for _ in range(PLAIN_EXAMPLES):
            plain_example(rng, operations or rng.randint(1, 5))

    def pack() -> None:
        pack_rows(shown.tokens_S, shown.offsets, shown.answer_start_N, 1024)

    times: dict[str, list[float]] = {}
    for block in range(1, repeats + 1):
        for name, work in (
            ("plain Python recursion", plain),
            ("numpy", lambda b=block: vectorised(task, b, operations)),
            ("packing into rows of 1024", pack),
        ):
            times.setdefault(name, []).append(seconds(work))
    each = {
        name: statistics.median(found)
        / (PLAIN_EXAMPLES if name.startswith("plain") else len(shown))
        for name, found in times.items()
    }
    each["numpy and packing"] = each["numpy"] + each["packing into rows of 1024"]
    plain_time = each["plain Python recursion"]
    tokens = len(shown.tokens_S) / len(shown)
    label = f"{operations}" if operations else "1..5"
    return [
        f"| {label} | {name} | {1e9 * found:,.0f} | {1 / found:,.0f} "
        f"| {tokens / found / 1e6:,.1f} | {plain_time / found:.1f} |"
        for name, found in each.items()
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    np.full(30 << 20, 1, np.uint8)
    print("| m | generator | ns/example | examples/s | M tokens/s | times plain |")
    print("|---|---|---|---|---|---|")
    for operations in (None, 1, 3, 5, 10):
        print("\n".join(measure(operations, repeats)))


if __name__ == "__main__":
    main()
