"""Training in this process, one pack after another, for debuggers and tests."""

from collections import deque

from sweeps.executor import Executor, Work, check_folder, failed_as_a_pack
from sweeps.launch_progress import ActivePack
from synth.run.progress import Event, Outcome


class InThisProcess(Executor):
    """Trains without workers and without a copy of the code, so breakpoints work."""

    def __init__(self, fail_fast: bool = False) -> None:
        self.fail_fast = fail_fast

    def carry_out(self, work: Work) -> list[Outcome]:
        """Train the packs; skips runs that another process trains."""
        from synth.training import train

        launch, display = work.progress, work.display
        stopping = False
        queue = deque(work.packs)
        while queue:
            pack = queue.popleft()
            if stopping:
                message = "not begun; run the same command to go on"
                outcomes = [Outcome(c.run_id, "stopped", message) for c in pack]
            else:
                active = ActivePack(pack)
                launch.active = [active]

                def show(event: Event, active: ActivePack = active) -> None:
                    launch.update(active, event)
                    display.refresh(launch)

                outcomes = train(pack, work.root, work.execution, show)
                launch.active = []
                if failed_as_a_pack(outcomes):
                    display.say(f"a pack of {len(pack)} failed: tried one by one")
                    queue.extendleft((config,) for config in reversed(pack))
                    continue
            for outcome in outcomes:
                outcome = check_folder(work.root, outcome)
                launch.outcomes[outcome.run_id] = outcome
                display.report_end(outcome, launch)
                failed = outcome.state == "failed" and self.fail_fast
                stopping = stopping or failed or outcome.state == "stopped"
        return list(launch.outcomes.values())
