"""Training in this process, one pack after another: for debuggers and for tests."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path

from sweeps.board import Active, Board
from sweeps.display import Display
from sweeps.executor import one_may_have_ended_all, present
from sweeps.packs import PackRuns
from synth.run.execution import Execution
from synth.run.progress import Event, Outcome


class InThisProcess:
    """No workers, no copy of the code; a breakpoint works."""

    slots = 1
    remote = False

    def __init__(self, fail_fast: bool = False) -> None:
        self.fail_fast = fail_fast

    def carry_out(
        self,
        packs: Sequence[PackRuns],
        root: Path,
        execution: Execution,
        board: Board,
        display: Display,
    ) -> list[Outcome]:
        """Train the packs; see `sweeps.executor.Executor`. A run that another process
        trains is left to it."""
        from synth.training import train

        over = False
        queue = deque(packs)
        while queue:
            pack = queue.popleft()
            if over:
                message = "not begun; run the same command to go on"
                outcomes = [Outcome(c.run_id, "stopped", message) for c in pack]
            else:
                active = Active(pack)
                board.active = [active]

                def show(event: Event, active: Active = active) -> None:
                    active.update(event, board.metric)
                    display.refresh(board)

                outcomes = train(pack, root, execution, show)
                board.active = []
                if one_may_have_ended_all(outcomes):
                    display.say(f"a pack of {len(pack)} failed: tried one by one")
                    queue.extendleft((config,) for config in reversed(pack))
                    continue
            for outcome in map(present(root), outcomes):
                board.outcomes[outcome.run_id] = outcome
                display.ended(outcome, board)
                failed = outcome.state == "failed" and self.fail_fast
                over = over or failed or outcome.state == "stopped"
        return list(board.outcomes.values())
