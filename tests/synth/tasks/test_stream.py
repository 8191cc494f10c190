"""Rows drawn ahead: the same bytes, the cursor of what was taken, errors, no threads."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from synth.pack import DRAWS_AHEAD, Pack
from synth.probes.layer_states import task_rows
from synth.run.execution import Execution
from synth.tasks.repeats import Repeats, RepeatsConfig
from synth.tasks.stream import RowStream
from synth.tasks.task import Rows
from synth.training import train
from tests.conftest import tiny_run
from tests.synth.test_training import content

FIELDS = ("tokens_RT", "example_RT", "answer_RT")


class Counting:
    """Blocks of 5 + block rows that hold their block's number; remembers who asked."""

    def __init__(self, broken=()):
        self.asked, self.broken = [], set(broken)

    def train_rows(self, data_seed, block, context):
        self.asked.append((block, threading.current_thread().name))
        if block in self.broken:
            raise OSError(f"block {block} cannot be read")
        tokens = np.arange((5 + block) * context).reshape(-1, context) + 1000 * block
        return Rows(tokens, np.ones_like(tokens), tokens % 2 == 0)


class Nothing(Repeats):
    """All of its segments are held out."""

    def train_rows(self, data_seed, block, context):
        return super().train_rows(data_seed, block, context)[:0]


@pytest.mark.parametrize(
    ("use", "blocks"),
    [
        (lambda task: RowStream(task, 0, 40).take(1), 1000),
        (lambda task: task.samples(0, 1), 1000),
        (lambda task: task_rows(task, "train", 1, 40), 1000),
        (lambda task: task.require_rows(40), 16),
    ],
)
def test_a_stream_without_rows_ends(monkeypatch, use, blocks):
    monkeypatch.setattr("synth.tasks.repeats.BLOCK_TOKENS", 1)
    with pytest.raises(ValueError, match=f"Nothing has no .* in {blocks} blocks"):
        use(Nothing(RepeatsConfig()))


@pytest.fixture
def one_thread():
    with ThreadPoolExecutor(1, thread_name_prefix="rows") as executor:
        yield executor


def row_threads():
    return [t.name for t in threading.enumerate() if t.name.startswith("rows")]


@pytest.mark.parametrize("takes", [[1] * 40, [7] * 6, [3, 11, 2, 24]])
def test_the_same_rows_and_cursors_ahead_or_not(one_thread, takes):
    task = tiny_run().task.build()
    for first in ((0, 0), (2, 3)):
        for source, context in ((Counting(), 4), (task, 48)):
            plain = RowStream(source, 3, context, *first)
            ahead = RowStream(source, 3, context, *first, one_thread)
            for count in takes:
                one, other = plain.take(count), ahead.take(count)
                for name in FIELDS:
                    assert np.array_equal(getattr(one, name), getattr(other, name))
                assert plain.cursor == ahead.cursor


def test_a_block_is_generated_while_the_one_before_is_taken(one_thread):
    source = Counting()
    stream = RowStream(source, 0, 4, ahead=one_thread)
    stream.take(1)
    one_thread.submit(int).result()  # what was asked for before is done
    assert [block for block, _ in source.asked] == [0, 1]
    assert source.asked[1][1].startswith("rows")
    assert stream.cursor == (0, 1)
    again = RowStream(source, 0, 4, *stream.cursor)
    assert np.array_equal(again.take(8).tokens_RT, stream.take(8).tokens_RT)
    assert again.cursor == stream.cursor == (1, 4)


def test_an_error_reaches_whoever_needs_the_rows(one_thread):
    source = Counting(broken={1})
    stream = RowStream(source, 0, 4, ahead=one_thread)
    stream.take(5)
    for _ in range(2):
        with pytest.raises(OSError, match="block 1 cannot be read"):
            stream.take(1)
        assert stream.cursor == (1, 0)
    source.broken.clear()
    assert stream.take(1).tokens_RT[0, 0] == 1000


@pytest.fixture
def ahead(monkeypatch):
    monkeypatch.setitem(DRAWS_AHEAD, "cpu", True)


@pytest.fixture
def at_step(monkeypatch):
    """Do something before a step."""

    def set_up(step, action):
        plain = Pack.train_step

        def train_step(self, clock):
            if self.step == step:
                assert row_threads()
                action()
            plain(self, clock)

        monkeypatch.setattr(Pack, "train_step", train_step)

    return set_up


@pytest.fixture
def run_of(monkeypatch):
    """Runs whose steps take about a block each."""
    monkeypatch.setattr("synth.tasks.polynomial.arithmetic.BLOCK", 64)
    return lambda seed: tiny_run(seed=seed, batch_rows=16, steps=8, final_examples=4)


def test_training_on_rows_drawn_ahead_leaves_the_same_bytes(
    tmp_path, request, run_of, at_step
):
    configs = [run_of(seed) for seed in (0, 1)]
    train(configs, tmp_path / "plain")
    expected = [content(tmp_path / "plain", config) for config in configs]
    assert not row_threads()
    request.getfixturevalue("ahead")
    at_step(5, lambda: signal.raise_signal(signal.SIGTERM))
    states = [o.state for o in train(configs, tmp_path / "ahead")]
    assert states == ["stopped"] * 2
    assert not row_threads()
    at_step(7, int)  # goes on with threads of its own
    assert [o.state for o in train(configs, tmp_path / "ahead")] == ["done"] * 2
    assert [content(tmp_path / "ahead", config) for config in configs] == expected
    assert not row_threads()


def test_several_blocks_are_trained_on(run_of):
    pack = Pack([run_of(0)], Execution(), None)
    for _ in range(8):
        pack.train_step({"data": 0.0, "training": 0.0})
    (stream,) = pack._streams.values()
    assert stream.cursor[0] >= 4


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_no_thread_is_left_behind(tmp_path, ahead, run_of, at_step, error):
    def fail():
        raise error

    at_step(3, fail)
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            train([run_of(0)], tmp_path)
    else:
        assert train([run_of(0)], tmp_path)[0].state == "failed"
    assert not row_threads()


def test_an_error_of_the_data_fails_the_run_in_words(
    tmp_path, ahead, run_of, monkeypatch
):
    config = run_of(0)
    kind = type(config.task.build())
    plain = kind.train_rows

    def broken(self, data_seed, block, context):
        if block == 1:
            raise OSError("the disk is gone")
        return plain(self, data_seed, block, context)

    monkeypatch.setattr(kind, "train_rows", broken)
    (outcome,) = train([config], tmp_path)
    assert (outcome.state, outcome.message) == ("failed", "OSError: the disk is gone")
    assert not row_threads()
