"""Choice points: the drawn example, the exact distributions, the split."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.tasks.choice_points import ROLES, ChoicePointsConfig, Kind
from synth.tasks.exact import problem_hash, side_of
from synth.tasks.task import TokenScores
from tests.synth.tasks.enumeration import continuations

SMALL = ChoicePointsConfig(
    branches=4, stretch=2, consequences=(0, 2, 3), variations=1, slip=0.2
)


@pytest.fixture(scope="module")
def task():
    return SMALL.build()


@pytest.fixture(scope="module")
def test_set(task):
    return task.evaluation_sets(400)[0]


def words(task, row):
    return [task.vocabulary[token] for token in row]


def test_layout_is_as_drawn():
    task = ChoicePointsConfig(consequences=(3, 0, 0)).build()
    draws = np.array([[2, 3, 2, 1, 0, 0, 0, 0, 1, 2, 3, 4]])
    assert " ".join(words(task, task._tokens(draws)[0])) == (
        "> a2 b3 1 2 3 4 C2 k3 k4 k0 v1 a0 b0 1 2 3 4 C0 v0 a1 b2 1 2 3 4 C3 v4"
    )
    kinds = "".join("SfcD=~"[place.kind] for place in task.layout)
    assert kinds == "SccffffD===~ccffffD~ccffffD~"


def test_labels_are_those_of_the_layout():
    """> a b 1 C k k v  a b 1 C v: two sections, the choices at 4 and 11."""
    task = ChoicePointsConfig(stretch=1, consequences=(2, 0), branches=16).build()
    labels = task.labels(np.zeros((2, task.length), np.int32))
    for row in range(2):
        assert labels["kind"][row].tolist() == [0, 2, 2, 1, 3, 4, 4, 5, 2, 2, 1, 3, 5]
        governor = [-1] * 4 + [4] * 3 + [-1] * 4 + [11, -1]
        assert labels["governor"][row].tolist() == governor
        consequence = [-1] * 4 + [2] * 3 + [-1] * 4 + [0, -1]
        assert labels["consequence"][row].tolist() == consequence


def test_every_example_follows_its_choices(task, test_set):
    b = SMALL.branches
    right = total = 0
    for row in test_set.rows.tokens_RT:
        shown = words(task, row)
        position = 1
        for section, length in enumerate(SMALL.consequences):
            i, j = int(shown[position][1:]), int(shown[position + 1][1:])
            assert shown[position + 2 : position + 4] == ["1", "2"]
            taken = int(shown[position + 4][1:])
            followed = [f"k{(taken + n) % b}" for n in range(1, length + 1)]
            assert shown[position + 5 : position + 5 + length] == followed
            right += taken == (i + [1, 3, 1][section] * j) % b
            total += 1
            position += 6 + length
        assert position == len(shown)
    assert right / total == pytest.approx(1 - SMALL.slip, abs=0.04)


def test_next_tokens_are_distributions_and_contain_what_happens(task, test_set):
    floor = task.floor(test_set.rows, 1)
    p_RTV = task.distributions(test_set.rows, 1)
    assert np.allclose(p_RTV[:, :-1].sum(-1), 1)
    assert np.isnan(p_RTV[:, -1]).all()
    assert np.isfinite(floor[:, :-1]).all()


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 7])
def test_marginals_equal_enumeration_of_continuations(task, test_set, cut):
    """The closed form for h > 1 against the chain rule over next tokens."""
    prefix = test_set.rows.tokens_RT[0, :cut].tolist()
    joint = continuations(task, prefix, 5)
    assert sum(joint.values()) == pytest.approx(1)
    for horizon in range(1, 6):
        expected = np.zeros(len(task.vocabulary))
        for tail, probability in joint.items():
            expected[tail[horizon - 1]] += probability
        found = task.distributions(test_set.rows, horizon)[0, cut - 1]
        assert np.allclose(found, expected, atol=1e-12)


@settings(max_examples=25, derandomize=True)
@given(
    branches=st.integers(2, 6),
    stretch=st.integers(0, 3),
    lengths=st.lists(st.integers(0, 3), min_size=3, max_size=4),
    slip=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 1000),
)
def test_closed_form_equals_the_chain_rule_for_any_layout(
    branches, stretch, lengths, slip, seed
):
    config = ChoicePointsConfig(
        branches=branches, stretch=stretch, consequences=tuple(lengths), slip=slip,
        variations=6,
    )  # fmt: skip
    task = config.build()
    rng = np.random.default_rng(seed)
    row = task._tokens(task._draw(rng, 1))[0]
    cut = int(rng.integers(1, task.length - 4))
    joint = continuations(task, row[:cut].tolist(), 3)
    assert sum(joint.values()) == pytest.approx(1)
    for horizon in (1, 2, 3):
        expected = np.zeros(len(task.vocabulary))
        for tail, probability in joint.items():
            expected[tail[horizon - 1]] += probability
        assert np.allclose(task.after(row[None, :cut], horizon)[0], expected)


def test_marginals_equal_frequencies_of_the_generator(task):
    """Exact probabilities at the choice against counts over draws of the generator."""
    rng = np.random.default_rng(3)
    tokens = task._tokens(task._draw(rng, 60_000))
    clue, choice = 1, task.layout.index(next(p for p in task.layout if p.kind == 3))
    here = (tokens[:, clue] == 3) & (tokens[:, clue + 1] == 8)
    counts = np.bincount(tokens[here, choice], minlength=len(task.vocabulary))
    exact = task.distributions(task.one_per_row(tokens[here][:1]), choice - clue - 1)
    assert np.allclose(counts / counts.sum(), exact[0, clue + 1], atol=0.02)


def test_roles_by_hand():
    task = ChoicePointsConfig(stretch=1, consequences=(2, 1, 0)).build()
    chosen = task.evaluation_sets(3)[0]
    #  > a b 1 C k k v | a b ...: at t = 3 ("1") head 1 sees the choice, 2 and 3 do not
    named = [ROLES[task.role(chosen, h)[0, 3]] for h in (1, 2, 3, 4, 5)]
    assert named == [
        "choice", "consequent-undecided", "consequent-undecided",
        "inconsequential", "clue",
    ]  # fmt: skip
    assert ROLES[task.role(chosen, 1)[0, 4]] == "consequent-decided"
    assert (task.role(chosen, 2)[:, -2:] == -1).all()


def test_train_and_test_are_disjoint_and_repeatable(task, test_set):
    again = task.train_rows(5, 0, task.length)
    assert np.array_equal(again.tokens_RT, task.train_rows(5, 0, task.length).tokens_RT)
    seen = {row.tobytes() for block in range(3)
            for row in task.train_rows(5, block, task.length).tokens_RT}  # fmt: skip
    assert not seen & {row.tobytes() for row in test_set.rows.tokens_RT}
    assert not np.array_equal(
        again.tokens_RT[:50], task.train_rows(6, 0, task.length).tokens_RT[:50]
    )


def test_smaller_test_sets_are_prefixes(task, test_set):
    fewer = task.evaluation_sets(50)[0]
    assert np.array_equal(fewer.rows.tokens_RT, test_set.rows.tokens_RT[:50])


def test_one_problem_in_eight_is_for_testing():
    draws = np.array(list(itertools.product(range(8), repeat=4)))
    assert (side_of(draws) == 0).mean() == pytest.approx(1 / 8, abs=0.02)
    assert len(np.unique(problem_hash(draws))) == len(draws)


def test_rows_are_packed_with_whole_examples(task):
    rows = task.train_rows(0, 0, 2 * task.length + 3)
    assert rows.example_RT.max() == 2
    assert (rows.tokens_RT[:, -3:] == 0).all()
    assert (rows.tokens_RT[:-1, task.length] == 1).all()
    with pytest.raises(ValueError, match=f"at least {task.length}"):
        task.train_rows(0, 0, task.length - 1)


def test_score_of_the_exact_predictor_has_no_excess(task, test_set):
    horizons = (1, 2, 3)
    loss = np.stack([task.floor(test_set.rows, h) for h in horizons])
    valid = np.isfinite(loss)
    scores = TokenScores(loss, valid, valid)
    found = task.score(test_set, scores)
    assert all(s.value == 0 for s in found if s.metric == "excess_loss")
    at_choice = [s for s in found if s.slice == "horizon=1,role=choice"]
    floor = next(s.value for s in at_choice if s.metric == "floor")
    entropy = -0.8 * np.log(0.8) - 0.2 * np.log(0.2 / 3)
    assert floor == pytest.approx(entropy, abs=0.08)
    # A consequent that is not decided yet is as uncertain as its choice.
    undecided = next(
        s.value for s in found
        if s.slice == "horizon=2,role=consequent-undecided" and s.metric == "floor"
    )  # fmt: skip
    assert undecided == pytest.approx(entropy, abs=0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"branches": 1}, "branches must be from 2"),
        ({"slip": 1.0}, r"slip must be in \[0, 1\)"),
        ({"consequences": ()}, "from 1 to 64 lengths"),
        ({"branches": 3, "consequences": (1,)}, "too few to hold some out"),
    ],
)
def test_impossible_configurations_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ChoicePointsConfig(**fields)
    ChoicePointsConfig(branches=2, consequences=(1,) * 4, variations=2)  # 2^16


def test_samples_say_role_and_exact_probability():
    task = ChoicePointsConfig().build()
    for sample in task.samples(0, 3):
        roles, chances = sample.record["roles"], sample.record["probabilities"]
        assert roles[:4] == [None, "clue", "clue", "forced"]
        assert chances[:4] == [None, 0.2, 0.2, 1.0]
        assert chances[roles.index("choice")] in (0.9, 0.025)
        assert len(roles) == len(chances) == len(sample.tokens)


def test_identity_and_round_trip():
    assert (
        ChoicePointsConfig.from_dict(
            {k: v for k, v in SMALL.to_dict().items() if k != "kind"}
        )
        == SMALL
    )
    assert Kind.CHOICE == 3


def test_floors_are_those_of_the_rows_at_hand(task, monkeypatch):
    """They are kept while the same rows are scored, and no longer."""
    sets = [task.evaluation_sets(examples)[0] for examples in (5, 9)]
    plain, calls = type(task).floor, []

    def counted(self, rows, horizon):
        calls.append(horizon)
        return plain(self, rows, horizon)

    def scored(chosen):
        loss = np.stack([plain(task, chosen.rows, h) for h in (1, 2)])
        valid = np.isfinite(loss)
        return task.score(chosen, TokenScores(loss + 0.5, valid, valid))

    monkeypatch.setattr(type(task), "floor", counted)
    for chosen, fresh in zip((*sets, sets[0]), (2, 4, 6), strict=True):
        found = scored(chosen)
        assert scored(chosen) == found
        assert len(calls) == fresh
        excess = [s.value for s in found if s.metric == "excess_loss"]
        assert excess == pytest.approx([0.5] * len(excess))
        assert len(excess) > 3


def test_the_longest_layout_takes_no_time_quadratic_in_its_length():
    """66,000 tokens; a search of the layout for each of them took a quarter of an hour."""
    config = ChoicePointsConfig(consequences=(1024,) * 64, variations=4)
    task = config.build()
    tokens_RT = np.ones((1, task.length), np.int64)
    begin = time.process_time()
    governor_T = task.labels(tokens_RT)["governor"][0]
    assert time.process_time() - begin < 20
    assert (governor_T >= 0).sum() == 64 * 1025
