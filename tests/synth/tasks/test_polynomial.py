"""The polynomial task: right answers, disjoint sides, fixed bytes, honest scores."""

import dataclasses
import hashlib
from collections import Counter

import numpy as np
import pytest
import sympy
from scipy.stats import chisquare

from synth.families.family import members
from synth.tasks.polynomial import Polynomial, PolynomialConfig
from synth.tasks.polynomial.arithmetic import commonest_answer
from synth.tasks.polynomial.expressions import side_of
from synth.tasks.polynomial.infix import text
from synth.tasks.task import Rows, TokenScores
from tests.synth.tasks import slow_polynomial as slow

TASKS = members("task")

CONFIGS = [
    {},
    {"tree": "chain", "pause_tokens": 5, "max_operations": 10},
    {"tree": "balanced", "modulus": 11, "degree": 4, "min_operations": 3},
    {"modulus": 97, "degree": 8, "operators": ("compose", "neg")},
    {"modulus": 2, "degree": 2},
    {"modulus": 3, "degree": 1, "operators": ("add",)},
]


def records(made, seed, count, operations=None):
    """What `samples` shows, with exactly so many operations."""
    if operations:
        exact = {"min_operations": operations, "max_operations": operations}
        made = dataclasses.replace(made.config, **exact).build()
    return [sample.record for sample in made.samples(seed, count)]


def task(**fields) -> Polynomial:
    return PolynomialConfig(**fields).build()


def examples(rows: Rows) -> list[tuple[list[int], list[bool]]]:
    """The examples of packed rows, tokens and answer flags."""
    found = []
    for row in range(len(rows)):
        for number in range(1, rows.example_RT[row].max() + 1):
            here = rows.example_RT[row] == number
            found.append(
                (rows.tokens_RT[row, here].tolist(), rows.answer_RT[row, here].tolist())
            )
    return found


def question(tokens: list[int], names: tuple[str, ...]) -> str:
    """The printed expression of an example, without pause tokens."""
    words = [names[token] for token in tokens]
    end = words.index("=")
    return text([t for t in tokens[:end] if names[t] != "<pause>"], names)


def check_example(tokens: list[int], answer: list[bool], made: Polynomial) -> slow.Tree:
    """Parse back, solve slowly, compare every token."""
    config, names = made.config, made.vocabulary
    tree = slow.parse(question(tokens, names))
    solved = slow.evaluate(tree, config.modulus, config.degree)
    pause = ["<pause>"] * config.pause_tokens
    written = [c if c != " " else "" for c in _words(slow.print_infix(tree))]
    expected = [*filter(None, written), *pause, "=", *map(str, solved), "."]
    assert [names[token] for token in tokens] == expected
    assert answer == [False] * (len(tokens) - config.degree - 1) + [True] * (
        config.degree + 1
    )
    return tree


def _words(printed: str) -> list[str]:
    words, number = [], ""
    for sign in printed:
        if sign.isdigit():
            number += sign
            continue
        words += [number, sign]
        number = ""
    return words


@pytest.mark.parametrize("fields", CONFIGS, ids=str)
def test_every_training_example_parses_back_and_is_right(fields):
    made = task(**fields)
    rows = made.train_rows(0, 0, 256)[:60]
    found = examples(rows)
    counts = {
        slow.operations(check_example(tokens, answer, made)) for tokens, answer in found
    }
    config = made.config
    assert counts == set(range(config.min_operations, config.max_operations + 1))


@pytest.mark.parametrize("fields", CONFIGS, ids=str)
def test_every_test_example_parses_back_is_right_and_on_the_test_side(fields):
    made = task(**fields)
    suites = made.evaluation_sets(12)
    assert [chosen.suite for chosen in suites] == (
        ["in_domain", "out_of_domain"]
        if made.config.max_operations < 10 or made.config.min_operations > 1
        else ["in_domain"]
    )
    for chosen in suites:
        for row, (tokens, answer) in enumerate(examples(chosen.rows)):
            tree = check_example(tokens, answer, made)
            labels = {name: values[row] for name, values in chosen.labels.items()}
            assert slow.operations(tree) == labels["operations"]
            assert ("-" in slow.print_infix(tree)) == labels["negation"]
            value = slow.evaluate(tree, made.config.modulus, made.config.degree)
            weights = made.config.modulus ** np.arange(made.config.degree)
            assert labels["answer"] == np.dot(value, weights)
            assert slow.on_test_side(tree, made.config.modulus)
            trained = made.config.min_operations, made.config.max_operations
            inside = trained[0] <= labels["operations"] <= trained[1]
            assert inside == (chosen.suite == "in_domain")


def test_samples_agree_with_sympy():
    variable = sympy.Symbol("X")

    def value(tree: slow.Tree) -> sympy.Poly:
        if tree[0] == "poly":
            return sympy.Poly(tree[1][::-1], variable, modulus=7)
        operands = [value(operand) for operand in tree[1:]]
        result = {
            "-": lambda a, _: -a,
            "+": lambda a, b: a + b,
            "*": lambda a, b: a * b,
            "@": lambda a, b: a.compose(b),
        }[tree[0]](operands[0], operands[-1])
        return result.rem(sympy.Poly(variable**5, variable, modulus=7))

    made = task()
    drawn = [s for m in (1, 2, 3, 5, 8) for s in records(made, 1, 25, operations=m)]
    for sample in drawn:
        coefficients = value(slow.parse(sample["expression"])).all_coeffs()[::-1]
        found = [int(c) % 7 for c in coefficients]
        assert (found + [0] * 5)[:5] == sample["answer"]


def test_samples_are_a_prefix_of_more_and_keep_their_side():
    made = task(pause_tokens=2)
    assert records(made, 3, 5) == records(made, 3, 9)[:5]
    assert records(made, 3, 5) != records(made, 4, 5)
    for sample in records(made, 0, 40, operations=4):
        tree = slow.parse(sample["expression"])
        assert sample["operations"] == slow.operations(tree) == 4
        assert sample["split"] == "train"
        assert not slow.on_test_side(tree, 7)
        assert sample["tokens"][-9:-6] == ["<pause>", "<pause>", "="]
    assert sum(made.samples(0, 1)[0].answer) == 6


def test_train_and_test_share_no_expression():
    # A small ring, so that a leak would be certain to show.
    made = task(modulus=3, degree=2, max_operations=3, max_evaluated=3)
    names = made.vocabulary
    trained = {
        question(tokens, names)
        for tokens, _ in examples(made.train_rows(0, 0, 64)[:4000])
    }
    tested = {
        question(tokens, names)
        for chosen in made.evaluation_sets(400)
        for tokens, _ in examples(chosen.rows)
    }
    assert len(trained) > 1000
    assert len(tested) > 200
    assert not trained & tested


def test_an_eighth_of_every_number_of_operations_is_for_testing():
    made = task()
    for m in (1, 3, 10):
        drawn = made._draw(np.random.default_rng(m), np.full(4000, m))
        assert abs((side_of(drawn) == 0).mean() - 1 / 8) < 0.02


def test_a_block_depends_on_seed_and_block_alone():
    made = task()
    rows = made.train_rows(5, 3, 128)
    again = task().train_rows(5, 3, 128)
    assert np.array_equal(rows.tokens_RT, again.tokens_RT)
    for other in (made.train_rows(5, 4, 128), made.train_rows(6, 3, 128)):
        assert rows.tokens_RT[0].tolist() != other.tokens_RT[0].tolist()
    # The same examples in the same order, whatever the context.
    wide = examples(made.train_rows(5, 3, 512)[:30])
    assert examples(rows)[: len(wide)] == wide


def digest(rows: Rows) -> str:
    parts = (rows.tokens_RT, rows.example_RT, rows.answer_RT)
    data = b"".join(part.astype("<i8").tobytes() for part in parts)
    return hashlib.sha256(data).hexdigest()[:16]


def test_golden_bytes():
    # A change here means that older runs cannot be repeated: raise the version.
    made = task()
    assert digest(made.train_rows(0, 0, 256)) == "da64b75d36ce77a5"
    assert [digest(chosen.rows) for chosen in made.evaluation_sets(16)] == [
        "db9b0da8a4b231e2",
        "ab6d8b2418dbf6d9",
    ]


def test_fewer_test_examples_are_a_prefix_of_more():
    made = task()
    for few, many in zip(
        made.evaluation_sets(30), made.evaluation_sets(700), strict=True
    ):
        count = len(few.rows)
        assert digest(few.rows) == digest(many.rows[:count])
        for name, values in few.labels.items():
            assert values.tolist() == many.labels[name][:count].tolist()
        assert set(Counter(few.labels["operations"].tolist()).values()) == {30}


def test_coefficients_operators_and_splits_are_uniform():
    made = task()
    coefficients, roots, lefts = Counter(), Counter(), Counter()
    counts = Counter(
        slow.operations(slow.parse(sample["expression"]))
        for sample in records(made, 0, 3000)
    )
    for sample in records(made, 7, 3000, operations=4):
        tree = slow.parse(sample["expression"])
        coefficients.update(c for c in sample["expression"] if c.isdigit())
        roots[tree[0]] += 1
        if tree[0] != "-":
            lefts[slow.operations(tree[1])] += 1
    for counted, kinds in ((coefficients, 7), (roots, 4), (lefts, 4), (counts, 5)):
        assert len(counted) == kinds
        assert chisquare(list(counted.values())).pvalue > 1e-3


@pytest.mark.parametrize(
    ("law", "allowed"),
    [("chain", {0, 5}), ("balanced", {2, 3}), ("split", set(range(6)))],
)
def test_tree_laws(law, allowed):
    lefts = Counter()
    for sample in records(task(tree=law), 0, 600, operations=6):
        tree = slow.parse(sample["expression"])
        if tree[0] != "-":
            lefts[slow.operations(tree[1])] += 1
    assert set(lefts) == allowed
    assert chisquare(list(lefts.values())).pvalue > 1e-3


def test_pause_tokens_change_nothing_else():
    plain = records(task(), 0, 20)
    paused = records(task(pause_tokens=10), 0, 20)
    for without, sample in zip(plain, paused, strict=True):
        assert sample["tokens"].count("<pause>") == 10
        words = [word for word in sample["tokens"] if word != "<pause>"]
        assert sample | {"tokens": words} == without


def perfect(rows: Rows, horizon: int) -> TokenScores:
    """A model that is always right, with loss i at horizon i."""
    shape = (horizon, *rows.tokens_RT.shape)
    valid = np.zeros(shape, bool)
    loss = np.ones(shape, np.float32)
    for ahead in range(1, horizon + 1):
        valid[ahead - 1, :, :-ahead] = rows.example_RT[:, ahead:] > 0
        loss[ahead - 1] = ahead
    return TokenScores(loss, np.ones(shape, bool), valid)


def scored(made: Polynomial, chosen, scores: TokenScores) -> dict:
    return {
        (score.metric, score.slice): (score.value, score.count)
        for score in made.score(chosen, scores)
    }


def test_scores_of_a_perfect_model():
    made = task()
    for chosen in made.evaluation_sets(40):
        found = scored(made, chosen, perfect(chosen.rows, 3))
        rows = len(chosen.rows)
        assert found["exact_match", ""] == (1.0, rows)
        assert found["coefficient_accuracy", ""] == (1.0, 5 * rows)
        for m in np.unique(chosen.labels["operations"]):
            assert found["exact_match", f"operations={m}"] == (1.0, 40)
            assert found["guess_floor", f"operations={m}"][0] < 0.1
        for ahead in (1, 2, 3):
            assert found["loss", f"horizon={ahead}"] == (ahead, 6 * rows)
            assert found["accuracy", f"horizon={ahead}"] == (1.0, 6 * rows)
        if chosen.suite == "in_domain":
            parts = [
                found["exact_match", f"operations=1,negation={n}"]
                for n in ("yes", "no")
            ]
            assert [value for value, _ in parts] == [1.0, 1.0]
            assert sum(count for _, count in parts) == 40


def test_no_examples_give_no_scores():
    made = task()
    for chosen in made.evaluation_sets(0):
        assert len(chosen.rows) == 0
        assert made.score(chosen, perfect(chosen.rows, 2)) == []


def test_one_wrong_coefficient_fails_its_example_and_the_end_token_does_not():
    made = task()
    chosen = made.evaluation_sets(10)[0]
    rows = chosen.rows
    start = rows.answer_RT.argmax(axis=1)
    scores = perfect(rows, 2)
    for coefficient in range(5):
        scores.correct_NRT[0, coefficient, start[coefficient] - 1 + coefficient] = False
    # Neither the end token nor anything in the question is part of the answer's score.
    scores.correct_NRT[0, 5:, :][np.arange(45), start[5:] + 4] = False
    scores.correct_NRT[0, :, 0] = False
    scores.correct_NRT[1, 7, start[7]] = False
    found = scored(made, chosen, scores)
    assert found["exact_match", ""] == (pytest.approx(45 / 50), 50)
    assert found["coefficient_accuracy", ""] == (pytest.approx(245 / 250), 250)
    assert found["accuracy", "horizon=1"] == (pytest.approx(250 / 300), 300)
    assert found["accuracy", "horizon=2"] == (pytest.approx(299 / 300), 300)


def test_the_guess_floor_is_the_share_of_the_commonest_answer():
    made = task(modulus=2, degree=2, operators=("mul",), max_evaluated=3)
    chosen = made.evaluation_sets(300)[0]
    found = scored(made, chosen, perfect(chosen.rows, 1))
    for m in (1, 2, 3):
        # Products in F_2[X]/(X^2) are zero more often than anything else.
        assert commonest_answer(made.config, m) == 0
        answers = chosen.labels["answer"][chosen.labels["operations"] == m]
        floor, count = found["guess_floor", f"operations={m}"]
        assert (floor, count) == (pytest.approx((answers == 0).mean()), 300)
        assert floor > 0.3


def test_configuration_is_found_by_kind_and_has_one_form():
    config = TASKS["polynomial"](operators=["mul", "neg"])
    assert config.operators == ("neg", "mul")
    values = {k: v for k, v in config.to_dict().items() if k != "kind"}
    assert PolynomialConfig.from_dict(values) == config
    assert config.canonical() == PolynomialConfig(operators=("neg", "mul")).canonical()
    unclassified = set(PolynomialConfig().to_dict()) - set(config.canonical())
    assert not unclassified


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"modulus": 9},
            "PolynomialConfig.modulus must be a prime from 2 to 97; got 9",
        ),
        ({"modulus": 101}, "a prime from 2 to 97"),
        ({"degree": 9}, "PolynomialConfig.degree must be from 1 to 8; got 9"),
        ({"min_operations": 0}, "min_operations must be from 1 to 32"),
        ({"min_operations": 6}, "max_operations must be from min_operations = 6 to 32"),
        ({"max_evaluated": 33}, "max_evaluated must be from min_evaluated = 1 to 32"),
        ({"operators": ()}, "operators must be one or more of neg, add, mul, compose"),
        ({"operators": ("add", "sub")}, "operators must be one or more of neg"),
        ({"operators": ("add", "add")}, "each once"),
        ({"tree": "random"}, "'split', 'chain', 'balanced'"),
        ({"pause_tokens": -1}, "pause_tokens must be from 0 to 64"),
    ],
)
def test_impossible_configurations_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        PolynomialConfig(**fields)


def test_a_context_too_short_for_the_longest_example_is_refused():
    longest = 6 * 7 + 5 * 3 + 7
    assert task().train_rows(0, 0, longest).tokens_RT.shape[1] == longest
    with pytest.raises(ValueError, match=f"at least {longest}, .* got {longest - 1}"):
        task().train_rows(0, 0, longest - 1)
    with pytest.raises(ValueError, match=f"at least {longest + 10}"):
        task(pause_tokens=10).train_rows(0, 0, longest)


def test_a_ring_without_test_expressions_is_refused():
    # F_2 has two elements and thus two negations, both of them on the training side.
    made = task(modulus=2, degree=1, operators=("neg",))
    with pytest.raises(ValueError, match="no expression of 1 operations on the test"):
        made.evaluation_sets(5)
