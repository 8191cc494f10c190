"""One launch of a sweep: what is missing, in packs, through an executor."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps import costs, provenance
from sweeps.board import Board
from sweeps.calibration import Calibration
from sweeps.display import Display
from sweeps.executor import Executor
from sweeps.measuring import calibrate, pays, requests_for
from sweeps.plan import plan
from sweeps.sharing import link_shared
from sweeps.survey import Survey, survey
from synth.config import RunConfig
from synth.execution import Execution
from synth.progress import Outcome


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How a launch is to be carried out."""

    execution: Execution
    lanes: int | None = None
    """Most runs in a pack; chosen by measurement if not given, see `measuring.pays`."""
    retry: bool = False
    """Train failed runs again."""
    accept_code_change: bool = False
    """Go on with runs that other code began."""
    typed: provenance.Typed | None = None
    """What the person typed, to be remembered beside the runs."""


def launch(
    title: str,
    configs: Sequence[RunConfig],
    root: Path,
    executor: Executor,
    wishes: Wishes,
    display: Display,
    metric: str,
) -> list[Outcome]:
    """Train what is missing; failed runs too if asked for.

    Raises
    ------
    ValueError
        When unfinished runs were begun by other code, unless that is accepted.
    """
    linked = link_shared(configs, root)
    found = survey(root, configs)
    execution, slots = wishes.execution, executor.slots
    known = Calibration.load()
    if wishes.lanes is None:
        _calibrate(configs, found, wishes, known, slots, display)
    planned = plan(
        title,
        configs,
        found,
        execution,
        slots,
        lanes=wishes.lanes,
        retry=wishes.retry,
        calibration=known,
    )
    if not planned.packs:
        return []
    begun = found.ids("stopped", "failed") if wishes.retry else found.ids("stopped")
    if not wishes.accept_code_change:
        provenance.refuse_other_code(root, sorted(begun))
    if wishes.typed is not None:
        wishes.typed.remember(root)
    missing = [config for pack in planned.packs for config in pack]
    board = Board(
        total=len(configs),
        done_before=found.counts["done"],
        metric=metric,
        work={config.run_id: costs.flops(config) for config in missing},
    )

    shared = f" ({linked} shared with other sweeps)" if linked else ""
    display.say(
        f"{len(configs)} runs, {board.done_before} done{shared}; {len(missing)} to "
        f"train in {len(planned.packs)} packs, {slots} at a time, in {root}"
    )
    try:
        return executor.carry_out(planned.packs, root, execution, board, display)
    finally:
        display.close()
        _learn(board, execution, known)


def _calibrate(
    configs: Sequence[RunConfig],
    found: Survey,
    wishes: Wishes,
    known: Calibration,
    slots: int,
    display: Display,
) -> None:
    """Measure how many lanes suit the shapes ahead, where the training pays for it."""
    done = found.ids("done") if wishes.retry else found.ids("done", "failed")
    missing = [config for config in configs if config.run_id not in done]
    costs.refuse_impossible(missing)
    execution = wishes.execution
    requests = requests_for(missing, known, execution, slots)
    if not pays(requests, missing, execution, known, slots):
        return
    display.say(f"measuring {len(requests)} shapes first, to choose numbers of lanes")
    try:
        calibrate(requests, execution, known, display.say)
    except ValueError as error:
        display.say(f"{error} Lanes are chosen without it.")


def _learn(board: Board, execution: Execution, known: Calibration) -> None:
    """Keep the speeds that packs reached, for later plans."""
    if not board.speeds:
        return
    for config, lanes, speed in board.speeds:
        known.observe(config, execution, lanes, speed)
    try:
        known.save()
    except OSError:
        pass  # a read-only home: the next plan knows less, nothing is lost
