"""Peak memory and time of a step against the horizon: head by head, and all at once.

`python -m tests.bench.bench_heads [--vocabulary 8192] [--width 256]`

Each measurement runs in a process of its own (peak resident memory cannot be reset).
The memory of logits alone is B T V floats a head; the column "above n = 1" says how much
of it a longer horizon adds.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time


def measure(form: str, horizon: int, vocabulary: int, width: int, rows: int) -> None:
    """Print milliseconds a step and peak MiB of one form at one horizon."""
    import torch

    from synth.config import ModelConfig
    from synth.models.backward import loss_and_backward
    from synth.models.decoder import PredictionModel
    from synth.models.lanes import FlatLanes, initialise
    from synth.objectives.batch.targets import make_targets
    from synth.objectives.multi_token import MultiTokenConfig
    from tests.synth.objectives.test_loss import naive_losses

    torch.set_num_threads(1)
    config = ModelConfig(scale=f"d{width}-L9-h4")
    objective = MultiTokenConfig(horizon=horizon)
    model = PredictionModel(config, objective, vocabulary, 1)
    lanes = FlatLanes(model, torch.float32)
    initialise(lanes, model.initial_stds(), [0])
    tokens = torch.randint(0, vocabulary, (1, rows, 256))
    whole = torch.ones_like(tokens)
    targets = make_targets(tokens, whole, whole.bool(), objective)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(4):
        began = time.perf_counter()
        lanes.zero_grad()
        if form == "by head":
            loss_and_backward(model, targets)
        else:
            naive_losses(model, tokens, targets).sum().backward()
        times.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(1000 * statistics.median(times[1:]), (peak - before) / 1024)


def main() -> None:
    """Measure both forms at n = 1, 2, 4, 8."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--one", nargs=2, metavar=("FORM", "N"))
    given = parser.parse_args()
    if given.one:
        form, horizon = given.one
        measure(form, int(horizon), given.vocabulary, given.width, given.rows)
        return
    logits = given.rows * 256 * given.vocabulary * 4 / 2**20
    print(
        f"width {given.width}, 9 layers, {given.rows} x 256 tokens, V = "
        f"{given.vocabulary}; logits of one head {logits:.0f} MiB\n\n"
        "| n | head by head: ms | MiB | above n = 1 | all at once: ms | MiB | above |\n"
        "|---|---|---|---|---|---|---|"
    )
    first: dict[str, float] = {}
    for horizon in (1, 2, 4, 8):
        cells = [str(horizon)]
        for form in ("by head", "at once"):
            command = [sys.executable, "-m", "tests.bench.bench_heads", *sys.argv[1:]]
            done = subprocess.run(
                [*command, "--one", form, str(horizon)],
                capture_output=True,
                text=True,
                check=True,
            )
            milliseconds, peak = map(float, done.stdout.split())
            base = first.setdefault(form, peak)
            cells += [f"{milliseconds:.0f}", f"{peak:.0f}", f"{peak - base:+.0f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
