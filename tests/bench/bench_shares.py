"""What evaluation, data and checkpoints cost beside training, for every sweep.

`python -m tests.bench.bench_shares [--scales quick night] [--sweeps induction ...]
                                    [--compile auto|on|off]`

One row for each sweep, scale and task: its first pack, as a launch of two workers cuts
it (goal: at most 10 % together). Some steps, evaluations of both sizes and one checkpoint
are timed, and weighed with how often a whole run has them; the last evaluation is in.
What comes once a pack (the test sets, and what their scores refer to) counts once. "per
position" is an evaluation's time for one token of one lane, "evaluated" how many such
tokens it reads for each one trained on.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from sweeps.catalogue import CATALOGUE
from sweeps.packs import PackRuns, cut_packs, lane_rule
from synth.fast.numerics import numerics
from synth.pack import Pack
from synth.run import checkpoint
from synth.run.execution import Execution
from synth.run.store import RunFolder
from tests.bench.bench_peers import row, table

GOAL = 0.10
"""The largest share of all that is not training."""
PARTS = ("data", "evaluation", "checkpoint")
WORKERS = 2
"""Workers of the launch whose packs are measured."""


def first_packs(name: str, scale: str, execution: Execution) -> list[PackRuns]:
    """The first pack of each task of a sweep, as a launch would cut them."""
    runs = list(CATALOGUE[name](scale))
    packs: dict[str, PackRuns] = {}
    for pack in cut_packs(runs, lane_rule(execution, WORKERS)):
        packs.setdefault(pack[0].task.kind, pack)
    return list(packs.values())


def shares_row(label: str, configs: PackRuns, execution: Execution) -> bool:
    """Print the row of a pack; whether it keeps the goal."""
    with tempfile.TemporaryDirectory() as folder:
        found = measured_parts(configs, execution, Path(folder))
    whole = sum(found.seconds.values())
    share = 1 - found.seconds["training"] / whole
    training = configs[0].training
    trained = training.steps * training.tokens_per_step * len(configs)
    shown = [f"{found.seconds[part] / whole:.1%}" for part in PARTS]
    over = "" if share <= GOAL else " <- above the goal"
    row(
        [
            *(label, configs[0].task.kind, configs[0].model.scale, str(len(configs))),
            *(f"{training.precision} {found.form}", f"{whole / len(configs):,.1f} s"),
            *(*shown, f"{share:.1%}{over}"),
            f"{1e6 * found.seconds['evaluation'] / found.positions:.1f} us",
            f"{found.positions / trained:.2f}",
        ]
    )
    return share <= GOAL


@dataclass(frozen=True)
class Parts:
    """What a whole pack takes, from pieces of it."""

    seconds: dict[str, float]
    """CPU seconds of each part."""
    form: str
    """Of the step: eager or native."""
    positions: int
    """Tokens that its evaluations read, in all lanes."""


def measured_parts(configs: PackRuns, execution: Execution, folder: Path) -> Parts:
    """Measure the pieces, with threads as `train` sets them."""
    with numerics(execution):
        pack, training = Pack(configs, execution, None), configs[0].training
        clock: dict[str, float] = defaultdict(float)
        steps = []
        for _ in range(2 + 7):
            before = time.process_time()
            pack.train_step(clock)
            pack.settle(range(len(configs)))
            steps.append(time.process_time() - before)
        data = _data_seconds(pack)
        evaluation, positions = _evaluation_seconds(pack)
        saving = _saving_seconds(pack, folder)
    step = statistics.median(steps[2:])
    seconds = {
        "training": training.steps * (step - data),
        "data": training.steps * data,
        "evaluation": evaluation,
        "checkpoint": saving
        * (1 + training.steps * step // execution.checkpoint_every_seconds),
    }
    return Parts(seconds, pack.form, positions)


def _data_seconds(pack: Pack) -> float:
    """Of one step; a block is generated at once and spread over its rows."""
    context = pack.training.context
    block = pack.task.train_rows(0, 0, context)
    began = time.process_time()
    pack.task.train_rows(0, 1, context)
    made = time.process_time() - began
    return made / len(block) * pack.training.batch_rows * len(pack.configs)


def _evaluation_seconds(pack: Pack) -> tuple[float, int]:
    """Of a whole pack, and how many tokens it reads."""
    training = pack.training
    times = (training.steps - 1) // training.evaluate_every_steps + 1
    spent, positions = 0.0, 0
    for examples, number in (
        (training.evaluation_examples, times),
        (training.final_examples, 1),
    ):
        seconds = []
        for _ in range(min(2, number)):
            began = time.process_time()
            pack.evaluate(examples)
            seconds.append(time.process_time() - began)
        spent += seconds[0] + (number - 1) * seconds[-1]
        sets = pack.task.evaluation_sets(examples)
        read = sum(int((chosen.rows.example_RT > 0).sum()) for chosen in sets)
        positions += number * read * len(pack.configs)
    return spent, positions


def _saving_seconds(pack: Pack, folder: Path) -> float:
    """One checkpoint of every lane; in wall time, since syncing waits for the disk."""
    run = RunFolder(folder, pack.configs[0].run_id)
    with run.claim():
        run.open(pack.configs[0])
        began = time.monotonic()
        checkpoint.save(run, pack.checkpoint(0, 0, {}))
        return (time.monotonic() - began) * len(pack.configs)


def main() -> int:
    """Measure; status 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scales", nargs="+", default=["quick", "night"])
    parser.add_argument("--sweeps", nargs="+", choices=[*CATALOGUE])
    parser.add_argument("--compile", choices=["auto", "on", "off"], default="auto")
    given = parser.parse_args()
    execution, good = Execution(compile=given.compile), True
    parts = [*PARTS, "together", "per position", "evaluated"]
    table(
        "one CPU thread; CPU seconds of a run",
        ["sweep", "task", "model", "lanes", "step", "run", *parts],
    )
    for scale in given.scales:
        for name in given.sweeps or CATALOGUE:
            if scale not in CATALOGUE[name].scales:
                continue
            for configs in first_packs(name, scale, execution):
                good &= shares_row(f"{name} {scale}", configs, execution)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
