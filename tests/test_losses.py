"""The guard of numerics: the record holds here, and the guard sees what it must."""

import json

import pytest

from synth.fast.native import find_compiler
from tests.bench import losses
from tests.bench.losses import CASES, EVERY, RECORD, Trace, judge, machine, trace
from tests.conftest import with_training

STORED = json.loads(RECORD.read_text())
SHORT = 3 * EVERY
FP32, BF16 = losses.TOLERANCE.values()


def before(name, steps=SHORT):
    return Trace(STORED["cases"][name]["losses"][: steps // EVERY], "")


def test_the_record_covers_layouts_mixers_precisions_lanes_and_losses():
    assert list(STORED["cases"]) == list(CASES)
    runs = [config for configs in CASES.values() for config in configs]
    assert {c.objective.layout for c in runs} == {
        "parallel",
        "causal",
        "anticausal",
        "linear",
    }
    assert {c.model.mixer for c in runs} == {"attention", "mamba2", "rwkv"}
    assert {c.training.precision for c in runs} == {"fp32", "bf16"}
    assert {c.objective.scored for c in runs} == {"all", "answer"}
    assert len({c.task.kind for c in runs}) >= 6
    assert max(map(len, CASES.values())) > 1
    for configs in CASES.values():
        assert len({config.pack_key for config in configs}) == 1
    for name, case in STORED["cases"].items():
        shape = (len(CASES[name]), CASES[name][0].objective.horizon)
        assert len(case["losses"]) == losses.STEPS // EVERY
        assert all((len(k), len(k[0])) == shape for k in case["losses"])


@pytest.mark.skipif(find_compiler() is None, reason="NO C++ COMPILER")
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("polynomial n=4, answers", FP32), ("polynomial n=2, bf16", BF16)],
)
def test_native_losses_are_near_those_of_the_record(name, tolerance):
    found = judge(trace(CASES[name], SHORT, native=True), before(name), tolerance)
    assert found.verdict == "within tolerance", found


@pytest.mark.parametrize("name", ["polynomial n=4, answers", "repeats n=2, rwkv"])
def test_losses_are_those_of_the_record(name):
    """To the last bit where the record was made, within the tolerance elsewhere."""
    found = judge(trace(CASES[name], SHORT), before(name), FP32)
    assert found.verdict != "differs", found
    if STORED["machine"] == machine():
        assert found.largest == 0


def test_a_change_of_the_rate_by_a_percent_is_seen():
    name = "polynomial n=1"
    (config,) = CASES[name]
    changed = with_training(config, learning_rate=1.01 * config.training.learning_rate)
    found = judge(trace([changed], SHORT), before(name), FP32)
    assert found.verdict != "identical"
    assert found.largest > 0


def test_verdicts():
    old = Trace([[[2.0, 1.0]], [[1.0, 0.5]]], "a")
    assert judge(old, old, FP32) == losses.Judgement("identical", 0.0, 0)
    near = Trace([[[2.0, 1.0]], [[1.0, 0.5 * (1 + 1e-5)]]], "b")
    found = judge(near, old, FP32)
    assert (found.verdict, found.step) == ("within tolerance", 2 * EVERY)
    assert found.largest == pytest.approx(1e-5)
    far = Trace([[[2.0, 1.02]], [[1.0, 0.5]]], "b")
    assert judge(far, old, FP32).verdict == "differs"
    assert judge(far, old, BF16).verdict == "within tolerance"
    lost = Trace([[[float("nan"), 1.0]], [[1.0, 0.5]]], "b")
    assert judge(lost, old, BF16).verdict == "differs"
    weights = Trace(old.losses, "b")  # equal losses, other weights
    assert judge(weights, old, FP32).verdict == "within tolerance"
    with pytest.raises(ValueError, match="holds 2 steps"):
        judge(Trace(old.losses[:1], "a"), old, FP32)


@pytest.mark.parametrize(
    ("here", "shift", "kernel", "status"),
    [
        (True, 0.0, [], 0),
        (True, 1e-5, [], 1),  # a refactor must not move a bit
        (True, 1e-5, ["--kernel"], 0),
        (True, 1e-1, ["--kernel"], 1),
        (True, 1e-5, ["--native"], 0),
        (True, 1e-1, ["--native"], 1),
        (False, 1e-5, [], 0),  # another machine may
        (False, 1e-1, [], 1),
    ],
)
def test_compare_asks_for_what_the_machine_allows(
    here, shift, kernel, status, tmp_path, monkeypatch, capsys
):
    name = "polynomial n=1"
    path = tmp_path / "record.json"
    made = Trace([[[2.0]]] * 20, "a")
    monkeypatch.setattr(losses, "trace", lambda configs, **how: made)
    assert losses.main(["record", "--file", str(path), "--cases", name]) == 0
    if not here:
        monkeypatch.setattr(losses, "machine", lambda: {"torch": "another"})
    shifted = [[[2.0 * (1 + shift)]]] * 20
    moved = Trace(shifted, "b" if shift else "a")
    monkeypatch.setattr(losses, "trace", lambda configs, **how: moved)
    words = ["compare", "--file", str(path), "--cases", name, *kernel]
    assert losses.main(words) == status
    out = capsys.readouterr().out
    assert ("not allowed" in out) == bool(status)
    assert f"{1 - status} of 1 cases as they should be" in out
