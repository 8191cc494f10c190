"""Numbers that no machine has room for are refused at once, whatever the field."""

import dataclasses
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.families.family import members
from synth.models.describe import describe_run
from synth.objectives.multi_token import MultiTokenConfig
from synth.run.execution import Execution
from synth.tasks.polynomial import PolynomialConfig
from synth.tasks.text.names import NameConfig
from synth.tasks.text.story_draws import StoryConfig
from synth.tasks.text.vocabularies import TokenizerConfig

TASKS = members("task")
OBJECTIVES = list(members("objective").values())
NESTED = [StoryConfig, NameConfig, TokenizerConfig]
PARTS = [*OBJECTIVES, TrainingConfig, RunConfig, Execution, *TASKS.values(), *NESTED]


def integer_fields(part):
    hints = typing.get_type_hints(part)
    names = [field.name for field in dataclasses.fields(part)]
    return [n for n in names if hints[n] in (int, int | None, tuple[int, ...])]


FIELDS = [(part, name) for part in PARTS for name in integer_fields(part)]
HUGE = st.integers(31, 70).flatmap(lambda b: st.integers(1 << b, (1 << b) + 3))


@given(place=st.sampled_from(FIELDS), value=HUGE, sign=st.sampled_from([1, -1]))
@settings(deadline=None, max_examples=300)
def test_a_huge_number_is_refused_or_harmless(place, value, sign):
    part, name = place
    hint = typing.get_type_hints(part)[name]
    number = sign * value
    given = {name: (number,) if hint == tuple[int, ...] else number}
    if part is TASKS["text"]:
        given |= {"corpus": __file__, "corpus_digest": "0" * 64, "reading": "any"}
    if part is RunConfig:
        given["task"] = PolynomialConfig()
    refused = None
    try:
        built = part(**given)
    except ValueError as error:
        refused = str(error)
    if refused is not None:
        assert name in refused or part.__name__ in refused
        return
    if part in (*OBJECTIVES, TrainingConfig):
        owner = "training" if part is TrainingConfig else "objective"
        built = RunConfig(task=PolynomialConfig(), **{owner: built})
    if isinstance(built, RunConfig):
        assert built.run_id
        describe_run(built)


@pytest.mark.parametrize("scale", ["d2147483648-L6-h4", "d64-L2147483648-h4"])
def test_a_shape_of_any_size_is_refused(scale):
    with pytest.raises(ValueError, match="at most width"):
        ModelConfig(scale=scale)


def test_a_huge_horizon_is_refused_at_once():
    with pytest.raises(ValueError, match=r"MultiTokenConfig.horizon .* 1 to 256"):
        MultiTokenConfig(horizon=1 << 31)
