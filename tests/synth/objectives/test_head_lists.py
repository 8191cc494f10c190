"""Lists of heads that break the contract are refused, with the head and its value."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from synth.families import family
from synth.identity import identity
from synth.objectives.declarations import Head
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.objective import ObjectiveConfig
from tests.conftest import tiny_run

CONFIGURATION = dataclass(frozen=True, kw_only=True)


@pytest.fixture
def build(monkeypatch):
    """Builds a run whose objective has the given heads."""
    known = dict(family.members("objective"))

    def built(heads, decorate=CONFIGURATION, word="listed"):
        class Listed(ObjectiveConfig):
            kind: ClassVar[str] = "listed"
            ignored: int = identity(1)

            @property
            def arm(self):
                return word

            def heads(self):
                return heads

            def trunk_layers(self, layers):
                return layers

        return replace(tiny_run(1), objective=decorate(Listed)())

    yield built
    family._MEMBERS["objective"].clear()
    family._MEMBERS["objective"].update(known)


NEXT = Head(offset=1)


@pytest.mark.parametrize(
    ("heads", "words"),
    [
        (NEXT, ["must be a tuple of heads", "got Head("]),
        ((), ["must be a tuple of heads", "got ()"]),
        ((Head(offset=2),), ["head 1", "next token", "offset=2"]),
        ((NEXT, Head(offset=-2)), ["head 2: offset", "above 0", "got -2"]),
        ((NEXT, Head(offset=2, given=2)), ["head 2: offset", "above 2", "got 2"]),
        ((NEXT, Head(offset=2, given=-1)), ["head 2: given", "at least 0", "got -1"]),
        ((NEXT, Head(offset=2, parent=3)), ["head 2: parent", "None, 1", "got 3"]),
        ((NEXT, Head(offset=2, parent=2)), ["head 2: parent", "None, 1", "got 2"]),
        (
            (NEXT, Head(offset=2, given=1), Head(offset=3, parent=2)),
            ["head 3: given", "at least 1", "got 0"],
        ),
        ((NEXT, Head(offset=3, given=2)), ["head 2: given", "at most 1", "got 2"]),
        (
            (NEXT, Head(offset=2, parent=3), Head(offset=3, parent=2)),
            ["head 2: parent", "not in a circle", "got 3"],
        ),
        (
            (NEXT, *(Head(offset=n, parent=p) for n, p in ((2, 3), (3, 4), (4, 3)))),
            ["head 2: parent", "not in a circle", "got 3"],
        ),
        ((NEXT, NEXT), ["one token twice", "horizon=1; horizon=1"]),
    ],
)
def test_heads_that_break_the_contract_are_refused(build, heads, words):
    with pytest.raises(ValueError) as caught:
        build(heads)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("word", ["far 3", "far/3", "", 3])
def test_an_arm_that_names_no_folder_is_refused(build, word):
    with pytest.raises(ValueError, match=r"Listed\.arm must be a word .*; got"):
        build((NEXT,), word=word)
    assert build((NEXT,), word="far3_w0.5").run_id.startswith("polynomial-far3_w0.5-")


@pytest.mark.parametrize(
    ("layout", "parts"),
    [
        ("parallel", [(None, 1, 0), (None, 1, 0), (None, 1, 0)]),
        ("causal", [(None, 1, 0), (1, 1, 0), (2, 1, 0)]),
        ("anticausal", [(2, 1, 0), (3, 1, 0), (None, 1, 0)]),
        ("linear", [(None, 0, 0), (None, 0, 1), (None, 0, 1)]),
        ("same", [(None, 1, 0), (1, 0, 0), (1, 0, 0)]),
    ],
)
def test_parents_layers_and_maps_of_three_heads(layout, parts):
    heads = MultiTokenConfig(horizon=3, layout=layout).heads()
    assert [(head.parent, head.layers, head.maps) for head in heads] == parts


def test_heads_without_layers_have_none_to_add():
    same = MultiTokenConfig(horizon=3, layout="same")
    assert MultiTokenConfig(horizon=3, layout="same", budget="added") == same


def test_the_last_target_is_at_most_256_tokens_ahead():
    heads = MultiTokenConfig(horizon=86, stride=3).heads()
    assert heads[-1].offset == 256
    with pytest.raises(ValueError, match="stride must be at least 1, and the last tar"):
        MultiTokenConfig(horizon=87, stride=3)


def test_heads_in_order_are_taken(build):
    heads = (NEXT, Head(offset=2, parent=3), Head(offset=3))
    assert build(heads).objective.heads() == heads
    assert build((NEXT, Head(offset=2), Head(offset=2, given=1, parent=1)))
    assert build((NEXT, Head(offset=3, given=2, merge="attend")))


def test_fields_without_the_decorator_are_refused_in_words(build):
    with pytest.raises(ValueError, match=r"Listed declares fields .* write @dataclass"):
        build((NEXT,), decorate=lambda cls: cls)
