"""A worker process: what it imports on the way to the outcomes of a pack."""

import json
import os
import subprocess
import sys
from dataclasses import asdict

from synth.execution import Execution
from tests.conftest import tiny_run
from tests.synth.test_optimizer import HEAVY

WORKER = """
import json, sys
from sweeps import worker

send = worker.Reporter.send

def told(self, event, **content):
    send(self, event, **content, modules=list(sys.modules))

worker.Reporter.send = told
sys.exit(worker.main())
"""


def test_a_worker_imports_what_training_needs_alone(tmp_path):
    runs = [tiny_run(2, seed=seed).to_dict() for seed in (0, 1)]
    order = {"runs": runs, "root": str(tmp_path), "execution": asdict(Execution())}
    with subprocess.Popen(
        [sys.executable, "-c", WORKER],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        events = {}
        for line in process.stdout:
            event = json.loads(line)
            events[event["event"]] = event
            if event["event"] == "outcomes":
                break
        process.kill()
    assert [outcome["state"] for outcome in events["outcomes"]["outcomes"]] == [
        "done",
        "done",
    ]
    assert "torch" in events["ready"]["modules"]
    assert set(HEAVY) & set(events["outcomes"]["modules"]) == set()
