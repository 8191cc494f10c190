"""Identity: golden ids, classified fields, refusals that help."""

import dataclasses
import json
import typing

import pytest

from synth.config import (
    PER_LANE,
    ModelConfig,
    RunConfig,
    TrainingConfig,
)
from synth.families import family
from synth.families.family import members
from synth.identity import Part, identity
from synth.objectives.multi_token import MultiTokenConfig
from synth.scales import SCALES, resolve
from synth.tasks.polynomial import PolynomialConfig
from synth.tasks.repeats import RepeatsConfig
from synth.tasks.running_text import TextConfig
from synth.tasks.task import TaskConfig
from tests.conftest import tiny_run

TASKS = members("task")

# Ids are promises: folders made by earlier versions carry them. A new field keeps them
# by stating its `implied` value; a change of meaning raises a `version` and, with it,
# changes them here on purpose.
GOLDEN = {
    "polynomial-n1-30M-s0-8c09e5d1": lambda: RunConfig(task=PolynomialConfig()),
    "polynomial-n4-1M-s3-27a9a7e8": lambda: RunConfig(
        task=PolynomialConfig(pause_tokens=5),
        model=ModelConfig(scale="1M"),
        objective=MultiTokenConfig(horizon=4, scored="answer"),
        seed=3,
    ),
    "polynomial-n2_causal-d64-L6-h2-s1-ef8a1720": lambda: RunConfig(
        task=PolynomialConfig(),
        model=ModelConfig(scale="d64-L6-h2"),
        objective=MultiTokenConfig(horizon=2, layout="causal"),
        seed=1,
        data_seed=7,
    ),
}


@pytest.mark.parametrize("run_id", GOLDEN)
def test_golden_ids(run_id):
    assert GOLDEN[run_id]().run_id == run_id


def parts():
    return [
        RunConfig,
        ModelConfig,
        TrainingConfig,
        *members("objective").values(),
        *TASKS.values(),
    ]


@pytest.mark.parametrize("part", parts())
def test_every_field_is_classified(part):
    for field in dataclasses.fields(part):
        assert field.metadata.get("identity"), f"{part.__name__}.{field.name}"


def test_an_unclassified_field_cannot_be_hashed():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Careless(Part):
        known: int = identity(1)
        forgotten: int = 2

    with pytest.raises(TypeError, match=r"Careless\.forgotten is not classified"):
        Careless().canonical()


def test_an_added_field_keeps_old_ids_at_its_implied_value():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Grown(Part):
        known: int = identity(1)
        added: int = identity(5, implied=0)

    assert Grown(added=0).canonical() == {"version": 1, "known": 1}
    assert Grown().canonical() == {"version": 1, "known": 1, "added": 5}
    assert Grown.from_dict({"known": 3}).added == 0


@pytest.mark.parametrize("part", parts())
def test_every_field_changes_the_id(part):
    """A changed value, whatever the field, is another run."""
    base = RunConfig(task=PolynomialConfig(), model=ModelConfig(scale="30M"))
    if part in members("objective").values():
        # With two predictions, so that the way of predicting the second one matters.
        two = {"multi-token": {"horizon": 2}, "chain": {"depth": 2}}
        two["myopic"] = two["multi-token"]
        objective = part(**two.get(part.kind, {}))
        base = dataclasses.replace(base, objective=objective)
    if part is RunConfig:
        changed = [
            dataclasses.replace(base, seed=1),
            dataclasses.replace(base, data_seed=9),
            dataclasses.replace(base, split="validation"),
        ]
    else:
        owner = {
            ModelConfig: "model",
            **dict.fromkeys(members("objective").values(), "objective"),
            TrainingConfig: "training",
            PolynomialConfig: "task",
        }.get(part)
        if owner is None:
            pytest.skip("covered by the tests of that task")
        current = getattr(base, owner)
        changed, hints = [], typing.get_type_hints(part)
        for field in dataclasses.fields(part):
            for value in other_values(getattr(current, field.name), hints[field.name]):
                try:
                    new = dataclasses.replace(current, **{field.name: value})
                except ValueError:
                    continue
                if new != current:
                    changed.append(dataclasses.replace(base, **{owner: new}))
                    break
            else:
                pytest.fail(f"no other value found for {field.name}")
    ids = {config.run_id for config in changed}
    assert len(ids) == len(changed)
    assert base.run_id not in ids


def other_values(value, hint):
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1, value + 4]
    if isinstance(value, float):
        return [value * 0.5]
    if isinstance(value, tuple):
        weights = [(1.0,) * count for count in (2, 3, 5)]  # as many as there are heads
        return [value[:-1], value[1:], *weights]
    if value is None:
        return [0.5]
    choices = ["100M", *typing.get_args(hint)]  # a scale, or the words of a `Literal`
    return [choice for choice in choices if choice != value]


def test_configuration_survives_json():
    for build in GOLDEN.values():
        config = build()
        read = RunConfig.from_dict(json.loads(json.dumps(config.to_dict())))
        assert read == config
        assert read.run_id == config.run_id


def test_equal_settings_have_one_identity():
    base = tiny_run(seed=4)
    assert dataclasses.replace(base, data_seed=4) == base
    assert ModelConfig(scale="d128-L5-h4") == ModelConfig(scale="1M")
    assert TrainingConfig(weight_decay=1) == TrainingConfig(weight_decay=1.0)
    one = PolynomialConfig(operators=("neg", "add"))
    assert one == PolynomialConfig(operators=["add", "neg"])


def test_replacing_the_seed_replaces_the_data_seed():
    base = dataclasses.replace(tiny_run(seed=4), data_seed=4)
    assert dataclasses.replace(base, seed=5).resolved_data_seed == 5


def test_lanes_may_differ_in_the_stated_fields_alone():
    base = tiny_run()
    for path in PER_LANE:
        *owner, name = path.split(".")
        part = getattr(base, owner[0]) if owner else base
        new = dataclasses.replace(part, **{name: 3})
        changed = dataclasses.replace(base, **{owner[0]: new}) if owner else new
        assert changed.run_id != base.run_id
        assert changed.pack_key == base.pack_key
    assert tiny_run(horizon=2).pack_key != base.pack_key
    assert tiny_run(steps=13).pack_key != base.pack_key


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: ModelConfig(scale="1m"), ["ModelConfig.scale", "'1m'", "1M"]),
        (lambda: ModelConfig(scale="d10-L4-h4"), ["d10-L4-h4", "multiple"]),
        (
            lambda: MultiTokenConfig(layout="serial"),
            ["layout", "'parallel'", "'serial'"],
        ),
        (lambda: MultiTokenConfig(horizon=0), ["horizon", "from 1 to 256", "0"]),
        (lambda: MultiTokenConfig(horizon=2.5), ["horizon", "a whole number", "2.5"]),
        (lambda: MultiTokenConfig(horizon=True), ["horizon", "whole number", "True"]),
        (
            lambda: TrainingConfig(learning_rate=float("nan")),
            ["learning_rate", "finite"],
        ),
        (lambda: TrainingConfig(steps=10), ["warmup_steps", "9", "2000"]),
        (lambda: TrainingConfig(batch_rows=10**9), ["batch_rows", "65536 rows"]),
        (lambda: TrainingConfig(context=10**9), ["context", "67108864"]),
        (lambda: TrainingConfig(precision="fp16"), ["precision", "'bf16'", "'fp16'"]),
        (lambda: tiny_run(seed=-1), ["seed", "at least 0", "-1"]),
    ],
)
def test_refusals_name_field_value_and_choices(build, words):
    with pytest.raises(ValueError) as caught:
        build()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("scale", "horizon", "words"),
    [
        ("3M", 4, ["takes 4 of the 4", "'3M'", "horizon 3", "'1M'", "'added'"]),
        ("1M", 5, ["takes 5 of the 5", "'1M'", "horizon 4", "'added'"]),
        ("d16-L1-h1", 2, ["takes 2 of the 1", "no trunk", "'10k'"]),
    ],
)
def test_a_model_without_trunk_is_refused_with_ways_out(scale, horizon, words):
    with pytest.raises(ValueError) as caught:
        tiny_run(horizon=horizon, scale=scale)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("layout", "budget", "depth"),
    [
        ("parallel", "moved", 3),
        ("causal", "moved", 3),
        ("anticausal", "moved", 6),
        ("linear", "moved", 6),
        ("same", "moved", 6),
        ("parallel", "added", 6),
        ("causal", "added", 6),
        ("anticausal", "added", 9),
        ("linear", "added", 6),
    ],
)
def test_layers_on_the_way_to_head_1(layout, budget, depth):
    """Of four heads and a scale of six layers, as the table of the module says."""
    objective = MultiTokenConfig(horizon=4, layout=layout, budget=budget)
    passed = [objective.heads()[head - 1] for head in objective.path(1)]
    assert objective.trunk_layers(6) + sum(head.layers for head in passed) == depth


def test_linear_heads_take_a_layer_from_eight_heads_on():
    heads = [MultiTokenConfig(horizon=n, layout="linear") for n in (4, 7, 8, 19, 20)]
    assert [objective.trunk_layers(6) for objective in heads] == [6, 6, 5, 4, 4]


def test_next_token_prediction_may_be_one_layer():
    assert tiny_run(horizon=1, scale="d16-L1-h1").model.shape.layers == 1


def test_unknown_fields_name_the_nearest():
    values = tiny_run().to_dict()
    values["training"]["learning_rates"] = 1.0
    with pytest.raises(ValueError, match=r"'learning_rates'.*'learning_rate'"):
        RunConfig.from_dict(values)
    values = tiny_run().to_dict()
    values["task"]["kind"] = "polynomials"
    with pytest.raises(ValueError, match=r"polynomials.*'polynomial'"):
        RunConfig.from_dict(values)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            lambda: TextConfig(corpus="a.txt", tokens="bpe"),
            r"TextConfig has no field 'tokens'. Write tokenizer=TokenizerConfig\(tokens=",
        ),
        (
            lambda: RunConfig(task=PolynomialConfig(), horizon=2),
            r"'horizon'. Write objective=MultiTokenConfig\(horizon=\.\.\.\)",
        ),
        (lambda: TrainingConfig(step=3), "has no field 'step'. Did you mean 'steps'"),
    ],
)
def test_a_field_of_an_inner_part_is_named_with_its_owner(build, words):
    with pytest.raises(TypeError, match=words):
        build()


def test_another_version_is_refused_in_words():
    values = tiny_run().to_dict()
    values["model"]["version"] = 99
    with pytest.raises(ValueError, match=r"ModelConfig.version must be 1.*99"):
        RunConfig.from_dict(values)


def test_table_s14_is_the_ladder():
    paper = {
        "1M": (128, 5, 4),
        "3M": (256, 4, 8),
        "10M": (384, 6, 8),
        "30M": (512, 10, 8),
        "100M": (768, 14, 12),
        "300M": (1024, 25, 16),
        "1B": (1536, 36, 24),
    }
    for name, shape in paper.items():
        scale = resolve(name)[1]
        assert (scale.width, scale.layers, scale.heads) == shape


def test_the_names_of_rungs_are_their_sizes():
    units = {"k": 1e3, "M": 1e6, "B": 1e9}
    for name, scale in SCALES.items():
        size = float(name[:-1]) * units[name[-1]]
        assert 0.8 < scale.nominal_parameters / size < 1.2
        layer = 4 * scale.width**2 + 3 * scale.width * scale.mlp_width
        exact = scale.layers * layer
        assert exact / scale.nominal_parameters == pytest.approx(1, abs=0.02)
    for name in ("10k", "30k", "100k", "300k", "1M"):
        assert MultiTokenConfig(horizon=4).trunk_layers(SCALES[name].layers) >= 1


def test_a_run_that_chooses_is_another_run_on_another_split():
    plain = tiny_run()
    choosing = dataclasses.replace(plain, split="validation")
    assert choosing.run_id != plain.run_id
    assert choosing.pack_key != plain.pack_key
    assert "split" not in plain.canonical()  # as before there was a choice
    assert RunConfig.from_dict(choosing.to_dict()) == choosing
    assert choosing.build_task().split == "validation"
    assert plain.build_task().split == "test"
    with pytest.raises(ValueError, match=r"RunConfig\.split must be one of"):
        dataclasses.replace(plain, split="train")


def test_a_task_without_a_validation_split_says_how_to_have_one():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Unsplit(TaskConfig):
        kind = "unsplit"
        build = None

    try:
        assert RunConfig(task=Unsplit()).split == "test"
        with pytest.raises(ValueError, match=r"'unsplit' has no validation .*held_out"):
            RunConfig(task=Unsplit(), split="validation")
    finally:
        family._MEMBERS["task"].pop("unsplit")


def answers_alone(task, context):
    objective = MultiTokenConfig(scored="answer")
    run = tiny_run(context=context)
    return dataclasses.replace(run, task=task, objective=objective)


def test_answers_alone_need_answers(tmp_path):
    """A period of 8 is scored from its tenth token on; running text has no answers."""
    answers_alone(RepeatsConfig(), 10).require_data()
    with pytest.raises(
        ValueError, match=r"nothing would be trained: .* of Repeats \(9 "
    ):
        answers_alone(RepeatsConfig(), 9).require_data()
    corpus = tmp_path / "text.txt"
    corpus.write_text("to be or not to be. " * 100)
    text = TextConfig(corpus=str(corpus), evaluation_length=8)
    with pytest.raises(ValueError, match=r"of RunningText .* Use scored 'all', or"):
        answers_alone(text, 16).require_data()


def test_settings_that_are_equal_have_one_identity():
    def ids(scale, weight_decay):
        training = TrainingConfig(steps=2, warmup_steps=1, weight_decay=weight_decay)
        model = ModelConfig(scale=scale)
        return RunConfig(task=RepeatsConfig(), model=model, training=training).run_id

    assert ids("d0000000064-L02-h1", -0.0) == ids("d64-L2-h1", 0.0)
