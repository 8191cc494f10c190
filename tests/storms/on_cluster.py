"""Storms on the private cluster: everything that befalls jobs, in random order.

Whatever comes, launching again must end with every run done and with the bytes that an
undisturbed run has.
"""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence

from slurm.clients import QueueUnavailable
from slurm.sandbox import cluster as private
from slurm.sandbox.daemons import job_processes
from slurm.sandbox.processes import client, controller_daemon
from slurm.status import cancel, read_status
from slurm.submission import SubmissionRefused
from synth.config import RunConfig
from synth.run.code_copy import HERE
from tests.slurm.conftest import Site, until
from tests.slurm.faults import crash_node

Packs = Sequence[Sequence[RunConfig]]
_LAUNCHER = """
    import sys
    from pathlib import Path
    from slurm.profile import load_profile
    from slurm.submission import submit
    from tests.slurm.conftest import tiny
    seeds = [pack.split(",") for pack in sys.argv[3:]]
    packs = [[tiny(int(seed), {steps}) for seed in pack] for pack in seeds]
    submit(packs, Path(sys.argv[1]), load_profile(sys.argv[2]), "killed")
"""
PROFILE = """
partition = "low"
time = 60
memory_gb = 0.5
[environment]
OMP_NUM_THREADS = 1
[execution]
checkpoint_every_seconds = 0.5
"""


class Storm:
    """One storm: the packs that it befalls, and what has happened so far."""

    def __init__(self, site: Site, packs: Packs, seed: int) -> None:
        self.site, self.packs = site, packs
        self.draw = random.Random(seed)
        self.story: list[str] = []

    def blow(self, faults: int, pause_s: float = 6.0) -> None:
        """So many faults; jobs that ended of one are sent again by the next launch."""
        kinds: list[Callable[[], str]] = [
            self.scancel,
            self.cancel,
            self.requeue,
            self.kill_worker,
            self.kill_worker,
            self.hold,
            self.kill_controller,
            self.crash_node,
            self.preempt,
            self.launch,
            self.kill_launcher,
        ]
        self.launch()
        for _ in range(faults):
            time.sleep(self.draw.uniform(0, pause_s))
            self.story.append(self.draw.choice(kinds)())

    def launch(self) -> str:
        """A person launches whatever is missing; a refusal is no fault of theirs."""
        try:
            submission = self.site.submit(*self.packs, braked=True)
        except (QueueUnavailable, SubmissionRefused) as error:
            return f"launch refused: {error}"
        return f"launch of {submission.num_jobs} jobs"

    def kill_launcher(self) -> str:
        """A launcher that dies at any moment."""
        profile = self.site.root.parent / "storm.toml"
        profile.write_text(PROFILE)
        steps = self.packs[0][0].training.steps
        script = textwrap.dedent(_LAUNCHER).format(steps=steps)
        words = [",".join(str(config.seed) for config in pack) for pack in self.packs]
        command = [sys.executable, "-c", script, str(self.site.root), str(profile)]
        with subprocess.Popen([*command, *words], cwd=HERE) as process:
            time.sleep(self.draw.uniform(0, 5))
            process.kill()
        return "launcher killed"

    def _jobs(self) -> list[str]:
        shown = client(self.site.options, "squeue", "-h", "-r", "-o", "%i").stdout
        return sorted(shown.split())

    def _on_a_job(self, *command: str) -> str:
        jobs = self._jobs()
        if not jobs:
            return f"no job for {command}"
        words = [*command, self.draw.choice(jobs)]
        client(self.site.options, *words, timeout_s=60)
        return " ".join(words)

    def scancel(self) -> str:
        """Somebody ends a job from outside."""
        return self._on_a_job("scancel")

    def requeue(self) -> str:
        """An administrator's requeue: no signal reaches the worker."""
        return self._on_a_job("scontrol", "requeue")

    def hold(self) -> str:
        """A job is held for a while, if it waits."""
        word = self._on_a_job("scontrol", "hold")
        time.sleep(self.draw.uniform(0, 2))
        self._release()
        return word

    def cancel(self) -> str:
        """Our own command for a run of the packs."""
        pack = self.draw.choice(self.packs)
        run_id = self.draw.choice(pack).run_id
        try:
            return f"cancelled {len(cancel(self.site.root, [run_id]))} runs"
        except QueueUnavailable as error:
            return f"cancel refused: {error}"

    def kill_worker(self) -> str:
        """`kill -9` of a worker."""
        conf = self.site.options.conf
        pids = [pid for pid, words in job_processes(conf) if "SLURM_PROCID" in words]
        if not pids:
            return "no worker to kill"
        victim = self.draw.choice(sorted(pids))
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            return "a worker that was faster"
        return "worker killed"

    def kill_controller(self) -> str:
        """`kill -9` of slurmctld, and back after a moment."""
        pid = controller_daemon(self.site.options).pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        time.sleep(self.draw.uniform(0, 3))
        private.up(self.site.options)
        return "controller killed"

    def crash_node(self) -> str:
        """A node loses power and comes back."""
        node = self.draw.choice(self.site.options.nodes)
        crash_node(self.site.options, node)
        time.sleep(self.draw.uniform(0, 3))
        private.up(self.site.options)
        return f"{node} crashed"

    def preempt(self) -> str:
        """A job of a higher priority takes a node for two seconds."""
        node = self.draw.choice(self.site.options.nodes)
        words = f"sbatch -p high -w {node} -N 1 -n 2 --mem=100 -o /dev/null --wrap"
        client(self.site.options, *words.split(), "sleep 2", timeout_s=60)
        return f"{node} preempted"

    def _release(self) -> None:
        for job in self._jobs():
            client(self.site.options, "scontrol", "release", job, timeout_s=60)

    def calm(self) -> None:
        """Heal the cluster and launch until all is done.

        Raises
        ------
        AssertionError
            Shows the runs that are not, and what befell them.
        """
        private.up(self.site.options)
        self.site.brake.release()
        ids = [config.run_id for pack in self.packs for config in pack]

        def done() -> bool:
            self._release()
            try:
                self.site.submit(*self.packs)
            except (QueueUnavailable, SubmissionRefused):
                return False
            states = {run.state for run in read_status(self.site.root, ids).runs}
            return states == {"done"}

        assert until(done), "\n".join([*self.story, self.site.picture(ids)])
