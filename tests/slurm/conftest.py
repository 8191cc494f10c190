"""A private cluster for the tests that need one, and runs small enough for it."""

import contextlib
import dataclasses
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurm import clients
from slurm.arrays import JobRuns
from slurm.clients import Ask
from slurm.job_record import read_record
from slurm.profile import Profile
from slurm.sandbox import cluster as private
from slurm.sandbox.cluster_files import ClusterOptions
from slurm.sandbox.processes import client
from slurm.status import RunStatus, read_status
from slurm.submission import Submission, submit
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.run.execution import Execution
from synth.run.store import RunFolder
from synth.tasks.polynomial import PolynomialConfig
from synth.training import train
from tests.conftest import PATIENCE_S, SLOW_STEPS, Brake

MAX_ARRAY_SIZE = 9


def tiny(seed: int, steps: int = 20, **training) -> RunConfig:
    """A run of a few milliseconds a step."""
    return RunConfig(
        task=PolynomialConfig(max_operations=2, max_evaluated=2),
        model=ModelConfig(scale="d16-L2-h2"),
        training=TrainingConfig(
            steps=steps,
            batch_rows=4,
            context=64,
            warmup_steps=2,
            evaluate_every_steps=max(5, steps // 4),
            evaluation_examples=8,
            final_examples=8,
            **training,
        ),
        seed=seed,
    )


def free_base_port() -> int:
    """A base port around which nothing listens."""
    for base in range(18000, 30000, 50):
        with contextlib.ExitStack() as stack:
            try:
                for port in ClusterOptions(base_port=base, accounting=True).ports:
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    raise RuntimeError("no free ports")


@pytest.fixture(scope="session")
def options() -> Iterator[ClusterOptions]:
    """The cluster of this test session, up; purged when the session ends."""
    reason = private.why_unavailable()
    if reason:
        pytest.skip(reason)
    state = Path(tempfile.mkdtemp(prefix="synth-slurm-", dir="/tmp"))
    made = ClusterOptions(state, free_base_port(), max_array_size=MAX_ARRAY_SIZE)
    try:
        private.up(made)
        yield made
    finally:
        private.down(made, purge=True)
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture
def site(
    options: ClusterOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator["Site"]:
    """The cluster, healthy and empty, with a runs folder of this test's own."""
    monkeypatch.setenv("SLURM_CONF", str(options.conf))
    monkeypatch.setenv("PYTHONPATH", str(SLOW_STEPS))
    private.up(options)
    yield Site(options, tmp_path / "runs", Brake(tmp_path / "brake"))

    def empty() -> bool:
        client(options, "scancel", "-f", "-u", "root", timeout_s=60)
        shown = client(options, "squeue", "-h", timeout_s=60)
        return shown.returncode == 0 and not shown.stdout

    if not until(empty):
        shown = client(options, "squeue").stdout
        private.down(options)
        pytest.fail(f"jobs survive scancel:\n{shown}")


def until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> bool:
    """Whether `condition` holds within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


@dataclasses.dataclass
class Site:
    """A person at the private cluster."""

    options: ClusterOptions
    root: Path
    brake: Brake
    profile: Profile = dataclasses.field(
        default_factory=lambda: Profile(
            name="test",
            partition="low",
            time=20,
            memory_gb=0.5,
            signal_delay_s=30,
            environment={"OMP_NUM_THREADS": "1"},
            execution={"checkpoint_every_seconds": 1.0, "log_every_seconds": 0.5},
        )
    )

    def submit(
        self, *packs: JobRuns, braked: bool = False, ask: Ask = clients.ask, **options
    ) -> Submission:
        """Send packs; their steps are slow until the brake is released, if `braked`."""
        profile = dataclasses.replace(self.profile, **options)
        if braked:
            variables = {**profile.environment, **self.brake.variables()}
            del variables["PYTHONPATH"]  # inherited, behind the copy of the code
            profile = dataclasses.replace(profile, environment=variables)
        return submit(list(packs), self.root, profile, "test", ask=ask)

    def client(self, *command: str, timeout_s: float = 60.0) -> str:
        done = client(self.options, *command, timeout_s=timeout_s)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def status(self, config: RunConfig) -> RunStatus:
        return read_status(self.root, [config.run_id]).runs[0]

    def state(self, config: RunConfig) -> str:
        return self.status(config).state

    def job(self, config: RunConfig) -> str:
        record = read_record(self.root, config.run_id)
        assert record is not None
        return record.job_id

    def wait_for(self, state: str, *configs: RunConfig) -> None:
        """Every run reaches the state in time, or the test fails with what it sees."""
        ids = [config.run_id for config in configs]

        def reached() -> bool:
            return all(r.state == state for r in read_status(self.root, ids).runs)

        if not until(reached):
            pytest.fail(self.picture(ids))

    def wait_for_checkpoint(self, config: RunConfig) -> int:
        """The first checkpoint of the run is there; returns its step."""
        folder = RunFolder(self.root, config.run_id).checkpoints
        if not until(lambda: list(folder.glob("step-*/place.json"))):
            pytest.fail(self.picture([config.run_id]))
        return max(int(path.name.split("-")[1]) for path in folder.glob("step-*"))

    def picture(self, ids: list[str]) -> str:
        found = read_status(self.root, ids).runs
        logs = {run.log for run in found if run.log and run.log.exists()}
        queue = client(self.options, "squeue", "-r", "-t", "all").stdout
        lines = [run.line() for run in found]
        return "\n".join([*lines, queue, *(p.read_text()[-3000:] for p in logs)])


REFERENCES: dict[str, tuple[bytes, bytes]] = {}


@pytest.fixture(scope="session")
def assert_undisturbed(tmp_path_factory):
    """Compare finished runs with the same runs trained here, alone, in one go."""
    root = tmp_path_factory.mktemp("reference")

    def outcome(root: Path, config: RunConfig) -> tuple[bytes, bytes]:
        folder = RunFolder(root, config.run_id)
        result = folder.read_json("result.json")
        weights = folder.path / result["weights"] / "weights.safetensors"
        return folder.metrics_path.read_bytes(), weights.read_bytes()

    def check(site: Site, *configs: RunConfig) -> None:
        for config in configs:
            if config.run_id not in REFERENCES:
                train([config], root, Execution())
                REFERENCES[config.run_id] = outcome(root, config)
            metrics, weights = outcome(site.root, config)
            assert metrics == REFERENCES[config.run_id][0]
            assert weights == REFERENCES[config.run_id][1]

    return check
