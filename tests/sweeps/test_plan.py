"""Plans: states, sizes, packs, time; nothing is executed."""

import dataclasses
import json
import platform

import pytest

from sweeps import costs, throughput
from sweeps.commands import PlanCommand
from sweeps.plan import plan
from sweeps.survey import survey
from sweeps.throughput import (
    CURVE,
    RECENT_AMD_CURVE,
    curve_speeds,
    default_throughput,
)
from synth.config import ModelConfig
from synth.models.describe import describe_run
from synth.objectives.registers import RegistersConfig
from synth.run.execution import Execution
from synth.run.states import NOT_DONE
from synth.run.store import RunFolder
from synth.tasks.stories import StoriesConfig
from synth.tasks.text.story_generator import StoryGenerator
from synth.training import train
from tests.conftest import tiny_run

CPU = Execution()
BY_SIZE = "by size, from the built-in curve of a quiet core"


def runs(seeds=2):
    return [tiny_run(horizon, seed) for horizon in (1, 2) for seed in range(seeds)]


def planned(configs, root, **options):
    return plan("mine", configs, survey(root, configs), CPU, 2, **options)


def test_a_plan_counts_what_is_there_and_what_is_missing(tmp_path):
    configs = runs()
    train(configs[:1], tmp_path)
    found = planned(configs, tmp_path)
    assert found.counts == {"done": 1, "new": 3}
    missing = [config for pack in found.packs for config in pack]
    assert sorted(c.run_id for c in missing) == sorted(c.run_id for c in configs[1:])
    assert found.tokens == sum(c.training.steps * 4 * 48 for c in missing)
    expected = sum(describe_run(config)["training_flops"] for config in missing)
    assert found.flops == pytest.approx(expected)
    assert [(cell.runs, cell.missing) for cell in found.cells] == [(2, 1), (2, 2)]
    assert [cell.tokens_per_second is None for cell in found.cells] == [False, False]


def test_times_follow_a_stated_rate(tmp_path):
    configs = runs()
    found = planned(configs, tmp_path, lanes=1, flops_per_second=1e6)
    spans = sorted((costs.flops(config) / 1e6 for config in configs), reverse=True)
    assert found.device_hours == pytest.approx(sum(spans) / 3600)
    # Two slots: the longest and the shortest go to one, the other two to the other.
    assert found.seconds == pytest.approx(max(spans[0] + spans[3], spans[1] + spans[2]))


@pytest.mark.parametrize(
    ("curve", "measured"),
    [
        (CURVE, {"10k": 120e3, "30k": 98e3, "100k": 64e3, "300k": 29e3, "1M": 12e3}),
        (RECENT_AMD_CURVE, {"10k": 360e3, "300k": 58e3, "3M": 8e3, "10M": 2.4e3}),
    ],
)
def test_times_by_size_are_those_of_the_rungs(curve, measured, monkeypatch):
    """Of runs long enough for native passes, as measured."""
    monkeypatch.setattr(throughput, "curve_speeds", lambda: curve)
    for scale, rate in measured.items():
        context = 128 if rate > 20e3 else 256
        run = tiny_run(scale=scale, steps=10**7, context=context)
        assert default_throughput(run, CPU) == pytest.approx(rate, rel=0.1)
        brief = tiny_run(scale=scale, steps=10, context=context)
        assert default_throughput(brief, CPU) < default_throughput(run, CPU)
    assert default_throughput(tiny_run(), Execution(device="cuda")) is None
    large = [tiny_run(scale=s, steps=10**5) for s in ("100M", "300M")]
    rates = [default_throughput(r, CPU) * costs.flops_per_token(r) for r in large]
    assert rates[0] == pytest.approx(rates[1])


@pytest.mark.parametrize(
    ("cpuinfo", "curve"),
    [
        (
            "vendor_id\t: AuthenticAMD\ncpu family\t: 26\nflags\t: avx512f",
            RECENT_AMD_CURVE,
        ),
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 25\nflags\t: avx512f", CURVE),
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 26\nflags\t: avx2", CURVE),
        ("vendor_id\t: GenuineIntel\ncpu family\t: 26\nflags\t: avx512f", CURVE),
        ("CPU implementer\t: 0x41", CURVE),
        (None, CURVE),
    ],
)
def test_each_kind_of_processor_has_its_curve(cpuinfo, curve, tmp_path):
    path = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        path.write_text(cpuinfo)
    assert curve_speeds(path) == curve


def pretend(root, config, rate, host=None, done=True, lanes=2):
    """The folder of a run that reached so many tokens a second, in a pack of two."""
    folder = RunFolder(root, config.run_id)
    folder.open(config)
    session = {"host": host or platform.node(), "device_kind": "cpu", "threads": 1}
    folder.write_json("environment.json", {"sessions": [session | {"lanes": lanes}]})
    if done:
        tokens = costs.tokens(config)
        seconds = {"training": 0.5 * lanes * tokens / rate}
        seconds["evaluation"] = seconds["training"]
        stored = {"tokens": tokens, "seconds": seconds, "lanes": lanes}
        folder.write_json("result.json", stored)
    else:
        folder.write_json("progress.json", {"tokens_per_second": rate / lanes})


def test_times_follow_what_runs_of_this_machine_reached(tmp_path):
    configs = runs(seeds=3)
    usual = default_throughput(configs[0], CPU)
    pretend(tmp_path, configs[0], 2 * usual)
    found = planned(configs, tmp_path)
    assert "1 of 2 cells measured in runs on this machine" in found.source
    assert "at 2.00 of the built-in curve" in found.source
    rates = [cell.tokens_per_second for cell in found.cells]
    assert rates == pytest.approx([2 * usual, 2 * default_throughput(configs[3], CPU)])
    tokens = costs.tokens(configs[0])
    assert found.cells[0].seconds == pytest.approx(2 * tokens / (2 * usual))
    pretend(tmp_path, configs[3], 500.0, done=False)
    found = planned(configs, tmp_path)
    assert found.cells[1].tokens_per_second == pytest.approx(500.0)
    assert found.source == "measured in runs on this machine"


def test_what_other_machines_reached_and_odd_files_do_not_count(tmp_path):
    configs = runs(seeds=5)
    pretend(tmp_path, configs[0], 77.0, host="elsewhere")
    for config, name, text in (
        (configs[1], "environment.json", "[]"),
        (configs[2], "result.json", '{"seconds": {}, "tokens": 1, "lanes": 1}'),
        (configs[5], "result.json", '{"seconds": {"a": "x"}, "tokens": 1, "lanes": 1}'),
        (configs[6], "environment.json", '{"sessions": [{"host": 1}]}'),
    ):
        pretend(tmp_path, config, 77.0)
        (tmp_path / config.run_id / name).write_text(text)
    assert planned(configs, tmp_path).source == BY_SIZE


def test_answers_alone_and_all_tokens_are_two_cells(tmp_path):
    """What is scored decides about the work of a step; one says nothing of the other."""
    all_tokens = tiny_run(steps=100)
    objective = dataclasses.replace(all_tokens.objective, scored="answer")
    answers = [
        dataclasses.replace(all_tokens, objective=objective, seed=s) for s in (0, 1)
    ]
    pretend(tmp_path, all_tokens, 12_345.0)
    found = planned([all_tokens, *answers], tmp_path)
    rates = [cell.tokens_per_second for cell in found.cells]
    assert rates[0] == pytest.approx(12_345.0)
    assert "1 of 2 cells" not in found.source  # the answers alone are left to train
    assert "0 of 1 cells measured" in found.source


def test_failed_runs_are_planned_for_retry_alone(tmp_path):
    configs = runs()
    folder = tmp_path / configs[0].run_id
    folder.mkdir()
    stored = json.dumps({"config": configs[0].to_dict()})
    (folder / "config.json").write_text(stored)
    (folder / "failure.json").write_text('{"message": "it broke"}')
    assert sum(map(len, planned(configs, tmp_path).packs)) == 3
    assert sum(map(len, planned(configs, tmp_path, states=NOT_DONE).packs)) == 4


def test_the_plan_command_answers_programs(sweep_file, tmp_path, capsys):
    path = sweep_file(seeds=2, layers=(3,))
    root = tmp_path / "runs"
    assert PlanCommand(sweep=str(path), runs=root, json=True).run() == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"] == {"new": 4}
    assert found["source"] == BY_SIZE
    assert found["seconds"] > 0
    assert sorted(len(pack) for pack in found["packs"]) == [2, 2]
    assert not root.exists()


def test_what_is_impossible_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(ValueError, match=r"Run polynomial-.* is impossible: context"):
        planned([tiny_run(context=10)], tmp_path)
    short = dataclasses.replace(
        tiny_run(context=24), model=ModelConfig(scale="d16-L4-h2", positions="learned")
    )
    with pytest.raises(ValueError, match="is impossible: A row of 29 tokens is longer"):
        planned([short], tmp_path)
    with pytest.raises(ValueError, match="--lanes must be at least 1; got 0"):
        planned(runs(), tmp_path, lanes=0)


def test_slots_without_number_and_a_rate_of_nothing(tmp_path):
    runs = [tiny_run(seed=seed) for seed in range(2)]
    alone = survey(tmp_path, runs)
    found = plan("mine", runs, alone, CPU, 10**11, lanes=1, flops_per_second=1e9)
    assert found.seconds == pytest.approx(found.device_hours * 3600 / 2)
    with pytest.raises(ValueError, match="--flops-per-second must be at least 1; got"):
        plan("mine", runs, alone, CPU, 1, flops_per_second=1e-300)


def test_of_graphs_that_seeds_draw_a_plan_draws_one(tmp_path):
    from synth.tasks.graph_paths import GraphPathsConfig, _drawn

    configs = [
        dataclasses.replace(
            tiny_run(horizon, context=15),
            task=GraphPathsConfig(nodes=20, edge_probability=0.3, graph_seed=1000 + g),
        )
        for horizon in (1, 2)
        for g in range(10)
    ]
    before = _drawn.cache_info().misses
    planned(configs, tmp_path)
    assert _drawn.cache_info().misses == before + 1


def test_a_plan_draws_a_few_of_the_fixed_stories(monkeypatch):
    drawn = []

    def draw(self, seed, block, count, *words):
        drawn.append(count)
        return whole(self, seed, block, count, *words)

    whole = StoryGenerator.draw
    monkeypatch.setattr(StoryGenerator, "draw", draw)
    StoriesConfig(fixed_stories=20_000).build().require_rows(256)
    assert sum(drawn) < 2000
    with pytest.raises(ValueError, match="fewer than one row of context 4096"):
        StoriesConfig(fixed_stories=3).build().require_rows(4096)


def test_registers_take_longer_than_their_arithmetic():
    one = tiny_run(1, scale="30k")
    registers = dataclasses.replace(one, objective=RegistersConfig())
    rate, slower = (default_throughput(run, Execution()) for run in (one, registers))
    more = costs.flops_per_token(registers) / costs.flops_per_token(one)
    assert 1.9 < more < 2.1
    assert slower < 0.4 * rate


@pytest.mark.parametrize(
    ("units", "gains"),
    [
        (None, {"30k": 1.0, "1M": 1 / (0.35 + 0.65 / 2)}),
        ("tiles", {"30k": 1.0, "100k": 1.3, "300k": 1.8, "1M": 2.7}),
        ("vectors", {"30k": 1.0, "100k": 1.2, "300k": 1.5, "1M": 2.0}),
    ],
)
def test_bf16_runs_are_planned_at_the_gain_of_the_processor(monkeypatch, units, gains):
    monkeypatch.setattr("synth.fast.precision.bf16_units", lambda: units)
    monkeypatch.setattr("synth.fast.precision.product_speed", lambda: 2.0)
    eager = Execution(compile="off")
    for scale, gain in gains.items():
        run = tiny_run(scale=scale, steps=10**7)
        training = dataclasses.replace(run.training, precision="bf16")
        rounded = dataclasses.replace(run, training=training)
        rates = [default_throughput(r, CPU) for r in (run, rounded)]
        assert rates[1] / rates[0] == pytest.approx(gain)
        rates = [default_throughput(r, eager) for r in (run, rounded)]
        expected = 1 / (0.35 + 0.65 / 2) if scale == "1M" else 0.6
        assert rates[1] / rates[0] == pytest.approx(expected)
