"""Training in this process, one pack after another: for debuggers and for tests."""

from collections import deque

from sweeps.board import Active
from sweeps.executor import Executor, Work, one_may_have_ended_all, present
from synth.run.progress import Event, Outcome


class InThisProcess(Executor):
    """No workers, no copy of the code; a breakpoint works."""

    def __init__(self, fail_fast: bool = False) -> None:
        self.fail_fast = fail_fast

    def carry_out(self, work: Work) -> list[Outcome]:
        """Train the packs; a run that another process trains is left to it."""
        from synth.training import train

        board, display = work.board, work.display
        over = False
        queue = deque(work.packs)
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

                outcomes = train(pack, work.root, work.execution, show)
                board.active = []
                if one_may_have_ended_all(outcomes):
                    display.say(f"a pack of {len(pack)} failed: tried one by one")
                    queue.extendleft((config,) for config in reversed(pack))
                    continue
            for outcome in map(present(work.root), outcomes):
                board.outcomes[outcome.run_id] = outcome
                display.ended(outcome, board)
                failed = outcome.state == "failed" and self.fail_fast
                over = over or failed or outcome.state == "stopped"
        return list(board.outcomes.values())
