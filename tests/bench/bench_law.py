"""How fast the law's statistics are: streamed moments against a plain solver.

    python -m tests.bench.bench_law [--tokens 1000000] [--width 1024] [--threads 2]

Prints seconds for one layer of float32 states: moments in chunks (memory does not grow
with tokens), the solve, and, on as many tokens as fit in memory, `torch.linalg.lstsq`
on the whole design matrix, with the difference of the two answers.
"""

import argparse
import os
import resource
import time


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plain-tokens", type=int, default=50_000)
    parser.add_argument("--permutations", type=int, default=10)
    options = parser.parse_args()
    # Both libraries read this before they are imported.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)

    import torch

    from synth.probes.least_squares import Moments
    from synth.probes.prediction_law import residuals

    torch.set_num_threads(options.threads)
    draw = torch.Generator().manual_seed(0)
    block = min(65_536, options.plain_tokens)
    states = torch.randn(block, options.width, generator=draw)
    slopes = torch.randn(options.width, 1 + options.permutations, generator=draw)
    targets = (states @ slopes + torch.randn(block, 1, generator=draw)).double()

    moments = Moments(options.width, targets.shape[1])
    start = time.perf_counter()
    while moments.count < options.tokens:
        take = min(block, options.tokens - moments.count)
        moments.add(states[:take], targets[:take])
    streamed = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    residuals(moments)
    solve = time.perf_counter() - start
    print(
        f"{options.tokens} tokens, width {options.width}, {targets.shape[1]} targets, "
        f"{options.threads} threads: moments {streamed:.1f} s "
        f"({options.tokens / streamed / 1e6:.3f} M tokens/s), solve {solve:.2f} s, "
        f"peak {peak:.0f} MB"
    )

    few = Moments(options.width, targets.shape[1])
    start = time.perf_counter()
    few.add(states[: options.plain_tokens], targets[: options.plain_tokens])
    found = residuals(few).in_sample_M
    ours = time.perf_counter() - start
    start = time.perf_counter()
    x = states[: options.plain_tokens].double()
    y = targets[: options.plain_tokens]
    design = torch.cat([torch.ones(len(x), 1, dtype=x.dtype), x], 1)
    fitted = torch.linalg.lstsq(design, y, driver="gels").solution
    plain = ((y - design @ fitted) ** 2).mean(0) / y.var(0, correction=0)
    theirs = time.perf_counter() - start
    print(
        f"{len(x)} tokens: moments and solve {ours:.2f} s, QR on the design matrix "
        f"{theirs:.2f} s, ratio {theirs / ours:.1f}; largest difference "
        f"{(found - plain).abs().max():.1e}"
    )


if __name__ == "__main__":
    main()
