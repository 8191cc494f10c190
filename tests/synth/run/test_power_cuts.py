"""Kills, regroupings and power cuts in any order: runs go on and end the same."""

import random
import shutil
import signal
import tempfile
from pathlib import Path
from unittest import mock

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import synth.run.checkpoint
from synth.metrics import Measurement, Score
from synth.run.checkpoint import Checkpoint, Place
from synth.run.execution import Execution
from synth.run.result_file import verify
from synth.run.store import RunFolder
from synth.training import train
from tests.conftest import tiny_run
from tests.synth.run.fake_disk import FakeDisk

OFTEN = Execution(checkpoint_every_seconds=0.0, log_every_seconds=1e6)
STEPS = 5
RUNS = [
    tiny_run(seed=seed, steps=STEPS, warmup_steps=1, evaluate_every_steps=2)
    for seed in (0, 1, 2)
]
TASK = RUNS[0].task.build()


class TinyPack:
    """Two numbers a lane in place of a model; the rest is as in `synth.pack.Pack`."""

    stop_at: int | None = None
    begun = staticmethod(lambda configs, step: None)

    def __init__(self, configs, execution, restored):
        self.configs, self.training = configs, configs[0].training
        self.task, self.objective = TASK, configs[0].objective
        self.items, self.evaluation_sets = [[] for _ in configs], {}
        lanes = range(len(configs))
        self.step = restored[0].place.step if restored else 0
        self.weights = [
            restored[k].weights["w"].clone() if restored else torch.zeros(1)
            for k in lanes
        ]
        self.moments = [
            restored[k].moments["m"].clone() if restored else torch.ones(1)
            for k in lanes
        ]
        self.sums = [
            list(restored[k].place.sums["losses"]) if restored else [] for k in lanes
        ]
        self.seconds_before = [{} for _ in lanes]
        self.begun(configs, self.step)

    @property
    def tokens(self):
        return self.step * self.training.tokens_per_step

    def environment(self):
        return {"host": "here"}

    def unembeddings_per_token(self):
        return 1.0

    def train_step(self, clock):
        self.step += 1
        for lane, config in enumerate(self.configs):
            self.moments[lane] = (self.moments[lane] * 3 + config.seed) % 97
            self.weights[lane] = (self.weights[lane] * 5 + self.moments[lane]) % 101
            self.sums[lane].append(float(self.weights[lane]))
        if self.step == self.stop_at:
            signal.raise_signal(signal.SIGTERM)

    def must_check(self):
        return True

    def settle(self, alive):
        return []

    def has_losses(self):
        return False

    def training_rows(self):
        rows = [[self._row(lane, "loss", sum(s))] for lane, s in enumerate(self.sums)]
        self.sums = [[] for _ in self.configs]
        return rows

    def evaluate(self, examples):
        return [
            [self._row(lane, "exact_match", float(self.weights[lane]))]
            for lane in range(len(self.configs))
        ]

    def checkpoint(self, lane, metrics_bytes, seconds):
        sums = {"losses": self.sums[lane]}
        place = Place(self.step, self.tokens, metrics_bytes, (0, self.step), sums, {})
        weights, moments = self.weights[lane], self.moments[lane]
        return Checkpoint(place, {"w": weights}, {"m": moments})

    def close(self):
        pass

    def _row(self, lane, metric, value):
        score = Score("train", metric, "", value, 1)
        return Measurement.of(score, self.configs[lane].run_id, self.step, self.tokens)


def content(root, config):
    path = root / config.run_id
    weights = path / f"checkpoint/step-{STEPS:09d}/weights.safetensors"
    return (path / "metrics.jsonl").read_bytes(), weights.read_bytes()


class Lives(RuleBasedStateMachine):
    """Runs on a disk that forgets, trained by processes that die."""

    expected: dict[str, tuple[bytes, bytes]] = {}

    def __init__(self):
        super().__init__()
        self.top = Path(tempfile.mkdtemp(prefix="lives-"))
        self.disk = FakeDisk(self.top / "runs")
        self.saved: dict[str, int] = {}
        if not self.expected:
            assert [
                o.state for o in train(RUNS, self.top / "calm", OFTEN, build=TinyPack)
            ]
            self.expected |= {c.run_id: content(self.top / "calm", c) for c in RUNS}

    def train(self, configs, calls=None):
        save = synth.run.checkpoint.save

        def noted(folder, checkpoint, keep=0):
            save(folder, checkpoint, keep)
            self.saved[folder.run_id] = checkpoint.place.step

        def begun(group, step):
            for config in group:
                last = self.saved.get(config.run_id, 0)
                assert step >= last or len(configs) > 1, "a checkpoint was lost"
                self.saved[config.run_id] = step

        outcomes = []
        with (
            mock.patch.object(synth.run.checkpoint, "save", noted),
            mock.patch.object(TinyPack, "begun", staticmethod(begun)),
            self.disk.process(calls),
        ):
            outcomes = train(configs, self.disk.root, OFTEN, build=TinyPack)
        assert all(o.state in ("done", "stopped") for o in outcomes), outcomes
        return outcomes

    @rule(lanes=st.sets(st.sampled_from(RUNS), min_size=1), calls=st.integers(0, 400))
    def killed(self, lanes, calls):
        self.train(sorted(lanes, key=lambda c: c.seed), calls)

    @rule(lanes=st.sets(st.sampled_from(RUNS), min_size=1), step=st.integers(1, STEPS))
    def stopped(self, lanes, step):
        TinyPack.stop_at = step
        try:
            self.train(sorted(lanes, key=lambda c: c.seed))
        finally:
            TinyPack.stop_at = None

    @rule(rng=st.randoms(use_true_random=False))
    def power_cut(self, rng):
        self.disk.power_cut(rng)

    @invariant()
    def done_is_done(self):
        for config in RUNS:
            folder = RunFolder(self.disk.root, config.run_id)
            if folder.state() == "done":
                assert verify(folder.path) == []
                assert content(self.disk.root, config) == self.expected[config.run_id]

    def teardown(self):
        try:
            for config in RUNS:
                (outcome,) = self.train([config])
                assert outcome.state == "done", outcome
            self.done_is_done()
        finally:
            self.disk.close()
            shutil.rmtree(self.top)


Lives.TestCase.settings = settings(
    max_examples=30, stateful_step_count=8, deadline=None, print_blob=True
)
TestLives = Lives.TestCase


@pytest.mark.parametrize("calls", range(4))
def test_what_a_killed_process_made_outlasts_a_power_cut(calls):
    """The next one did not make the folder, and is the one that saves in it."""
    for seed in range(4):
        lives = Lives()
        lives.killed({RUNS[0]}, calls)
        lives.stopped({RUNS[0]}, 1)
        lives.power_cut(random.Random(seed))
        lives.teardown()
