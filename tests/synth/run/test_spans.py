"""The profile: parts that sum to the whole, in the right rows, for every kind of pack."""

import json
from pkgutil import resolve_name

import pytest

from synth.__main__ import main
from synth.config import ModelConfig
from synth.families.family import members
from synth.objectives.multi_token import MultiTokenConfig
from synth.run.spans import PARTS, STEP, Profiler, span, step_taken
from synth.training import train
from tests.conftest import tiny_run, two_steps
from tests.synth.cli.test_commands import TINY
from tests.synth.test_combinations import task_of

TASKS = members("task")


class Clock:
    """A clock that stands still but for what a test adds (and a tick a look)."""

    def __init__(self, monkeypatch):
        self.now, self.monkeypatch = 0.0, monkeypatch
        monkeypatch.setattr("time.monotonic", self.look)

    def look(self):
        self.now += 1e-6
        return self.now

    def lengthen(self, where, first, later=None):
        """Let a function take so many seconds at its first and at later calls."""
        owner, _, name = where.rpartition(".")
        plain, calls = getattr(resolve_name(owner), name), []

        def longer(*given, **named):
            self.now += later if calls and later is not None else first
            calls.append(name)
            return plain(*given, **named)

        self.monkeypatch.setattr(where, longer)
        return calls


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def seconds_of(breakdown):
    return {part.name: part.seconds for part in breakdown.parts}


def profiled(configs, root):
    with Profiler() as profiler:
        outcomes = train(configs, root)
    assert [outcome.state for outcome in outcomes] == ["done"] * len(configs), outcomes
    return profiler.breakdown()


def check(found, steps, lanes, tokens):
    """Every part is there, none is negative, and they sum to the whole."""
    seconds = seconds_of(found)
    assert tuple(seconds) == PARTS
    assert all(value > 0 for value in seconds.values()), seconds
    assert sum(seconds.values()) == pytest.approx(found.seconds)
    assert sum(part.share for part in found.parts) == pytest.approx(1)
    assert (found.steps, found.lanes) == (steps, lanes)
    assert found.tokens_per_second == pytest.approx(tokens / found.seconds)
    stepping = sum(seconds[name] for name in STEP)
    assert found.step_tokens_per_second == pytest.approx(tokens / stepping)
    assert found.notes == ()


@pytest.mark.parametrize("layout", ["parallel", "causal", "anticausal", "linear"])
def test_parts_sum_to_the_whole_for_every_layout(layout, tmp_path):
    config = tiny_run(2, layout=layout)
    check(profiled([config], tmp_path), 12, 1, 12 * 4 * 48)


@pytest.mark.parametrize(
    ("kind", "mixer"),
    [*((kind, "attention") for kind in TASKS), ("maze", "mamba2"), ("maze", "rwkv")],
)
def test_parts_sum_to_the_whole_for_every_task_and_mixer(kind, mixer, tmp_path):
    config = two_steps(
        task_of(kind, tmp_path),
        ModelConfig(scale="d16-L3-h2", mixer=mixer),
        MultiTokenConfig(horizon=2),
        context=256,
    )
    check(profiled([config], tmp_path / "runs"), 2, 1, 2 * 2 * 256)


def test_a_profiled_pack_leaves_the_same_bytes(tmp_path):
    configs = [tiny_run(2, seed) for seed in range(3)]
    check(profiled(configs, tmp_path / "a"), 12, 3, 3 * 12 * 4 * 48)
    train(configs, tmp_path / "b")
    for config in configs:
        for name in ("metrics.jsonl", "checkpoint/step-000000012/weights.safetensors"):
            left, right = (tmp_path / side / config.run_id / name for side in "ab")
            assert left.read_bytes() == right.read_bytes()


@pytest.mark.parametrize(
    ("where", "part"),
    [
        ("synth.pack.RowStream.take", "data"),
        ("synth.models.backward.token_losses", "forward"),
        ("torch.autograd._engine_run_backward", "backward"),
        ("synth.optimizer.LaneOptimizer.norms", "optimiser"),
        ("synth.evaluation.score_tokens", "evaluation"),
        ("synth.run.checkpoint.save", "checkpoint"),
        ("synth.pack.make_targets", "other"),
        ("synth.pack.initialise", "start-up"),
    ],
)
def test_what_takes_long_shows_in_its_row_alone(where, part, tmp_path, clock):
    """A second is added at one place: to its row, and to no other."""
    calls = clock.lengthen(where, 1.0)
    seconds = seconds_of(profiled([tiny_run(2)], tmp_path))
    assert calls
    assert seconds[part] == pytest.approx(len(calls), abs=0.1)
    assert sum(seconds.values()) == pytest.approx(len(calls), abs=0.1)


def test_the_first_step_in_excess_is_start_up(tmp_path, clock):
    clock.lengthen("synth.optimizer.FusedAdamW.step", 30.0, 2.0)
    seconds = seconds_of(profiled([tiny_run()], tmp_path))
    assert seconds["start-up"] == pytest.approx(28.0, abs=0.1)
    assert seconds["optimiser"] == pytest.approx(12 * 2.0, abs=0.1)


def test_recording_a_graph_is_start_up(tmp_path, clock, graphs):
    clock.lengthen("tests.synth.fast.recording.RecordedGraph.capture", 30.0)
    clock.lengthen("tests.synth.fast.recording.RecordedGraph.replay", 2.0)
    seconds = seconds_of(profiled([tiny_run()], tmp_path))
    assert len(graphs) == 1
    # The first replay is part of the recording: it is checked.
    assert seconds["start-up"] == pytest.approx(32.0, abs=0.1)
    assert seconds["forward"] == pytest.approx(8 * 2.0, abs=0.1)


def test_a_span_counts_nothing_of_those_inside(clock):
    with Profiler() as profiler:
        with span("forward"):
            clock.now += 1.0
            with span("backward"):
                clock.now += 10.0
            clock.now += 100.0
        with span("evaluation", whole=True):
            clock.now += 1000.0
            with span("backward"):
                clock.now += 10000.0
        step_taken(1, 1, replayed=False)
    seconds = seconds_of(profiler.breakdown())
    assert seconds["forward"] == pytest.approx(101.0, abs=0.1)
    assert seconds["backward"] == pytest.approx(10.0, abs=0.1)
    assert seconds["evaluation"] == pytest.approx(11000.0, abs=0.1)


def test_without_a_profiler_a_span_is_always_the_same_object(tmp_path):
    profiled([tiny_run()], tmp_path)
    assert span("data") is span("forward", whole=True)


def test_the_command_prints_a_table_or_json(capsys, tmp_path):
    words = ["train", "polynomial", *TINY, "--steps", "12", "--runs", str(tmp_path)]
    assert main([*words, "--timing"]) == 0
    out = capsys.readouterr().out
    for name in (*PARTS, "whole"):
        assert f"\n{name}" in out
    assert "12 steps of 1 lanes" in out
    assert main([*words, "--timing"]) == 0  # done before
    assert "nothing to time" in capsys.readouterr().out
    assert main([*words, "--timing", "--json", "--seed", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["state"] == "done"
    assert [part["name"] for part in found["timing"]["parts"]] == list(PARTS)
    assert main([*words, "--json", "--seed", "2"]) == 0
    assert "timing" not in json.loads(capsys.readouterr().out)
    with pytest.raises(ValueError, match="no step was trained"):
        Profiler().breakdown()
