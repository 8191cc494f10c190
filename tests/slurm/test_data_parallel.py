"""Several processes on one pack, without a cluster: as one process, up to rounding."""

import json
import math
import subprocess
import sys
import textwrap

import pytest

from slurm.profile import Profile
from slurm.submission import submit
from synth.run.code_copy import HERE
from synth.run.execution import Execution
from synth.run.store import RunFolder
from synth.training import train
from tests.conftest import PATIENCE_S

from .conftest import tiny

SCRIPT = """
    import os, sys
    from pathlib import Path
    from slurm import data_parallel
    from synth.run.execution import Execution
    from synth.training import train
    from tests.slurm.conftest import tiny

    root, world, rank = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    runs = [tiny(0, 30), tiny(1, 30, learning_rate=3e-3)]
    place, execution = data_parallel.ProcessRank(rank, world, rank), Execution()
    os.environ["SLURM_LAUNCH_NODE_IPADDR"] = "127.0.0.1"
    with data_parallel.process_group(root / "here", place, execution):
        if rank:
            data_parallel.follow_leader(root, execution)
        else:
            found = train(runs, root, execution, None, data_parallel.LeaderPack)
            print(*[outcome.state for outcome in found])
"""


def together(root, world: int) -> list[str]:
    root.mkdir(exist_ok=True)
    script = textwrap.dedent(SCRIPT)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(root), str(world), str(rank)],
            cwd=HERE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        shown = [process.communicate(timeout=PATIENCE_S)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * world
    return shown[0].splitlines()


@pytest.mark.slow
def test_three_processes_train_as_one(tmp_path):
    """Four rows over three processes: unequal shares, two lanes."""
    runs = [tiny(0, 30), tiny(1, 30, learning_rate=3e-3)]
    train(runs, tmp_path / "alone", Execution())
    assert together(tmp_path / "shared", 3)[0] == "done done"
    for run in runs:
        texts = [
            RunFolder(tmp_path / name, run.run_id).metrics_path.read_text()
            for name in ("shared", "alone")
        ]
        pairs = zip(*(map(json.loads, t.splitlines()) for t in texts), strict=True)
        compared = 0
        for mine, theirs in pairs:
            assert mine | {"value": 0} == theirs | {"value": 0}
            if mine["metric"] in ("loss", "gradient_norm"):
                assert math.isclose(mine["value"], theirs["value"], rel_tol=1e-5)
                compared += 1
        assert compared >= 10


def test_more_processes_than_rows_are_refused_at_submission(tmp_path):
    profile = Profile(name="big", nodes=5)
    with pytest.raises(ValueError, match=r"number of processes, 5, .* got 4"):
        submit([[tiny(0)]], tmp_path / "runs", profile)
    assert not (tmp_path / "runs").exists()
