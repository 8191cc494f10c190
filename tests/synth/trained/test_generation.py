"""What a run writes: greedily, by sampling, and judged as its task judges."""

import json
from collections import Counter

import numpy as np
import pytest
import torch

from synth.__main__ import main
from synth.decoding import answer_places, greedy_decode
from synth.families.family import members
from synth.objectives.multi_token import MultiTokenConfig
from synth.tasks.polynomial import PolynomialConfig
from synth.tasks.symbols import Symbols
from synth.trained.generation import Sampling, answers, judge, questions
from tests.conftest import tiny_run
from tests.synth.export.test_llama import path_run
from tests.synth.trained.test_loading import quietly, text_run


@pytest.fixture(scope="module")
def polynomial(tmp_path_factory):
    return quietly(tiny_run(2), tmp_path_factory.mktemp("polynomial"))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    return quietly(text_run(folder, MultiTokenConfig(horizon=2)), folder)


def test_draws_follow_the_distribution():
    logits_V = torch.tensor([0.0, 1.0, -torch.inf, 2.0])
    count = 4000
    chance_B = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    logits_BV = logits_V.expand(count, -1)

    def shares(**how):
        drawn = Counter(Sampling(**how).choose(logits_BV, chance_B).tolist())
        return torch.tensor([drawn[i] / count for i in range(4)])

    for temperature in (0.5, 1.0, 2.0):
        expected = (logits_V / temperature).softmax(-1)
        assert torch.allclose(shares(temperature=temperature), expected, atol=1e-3)
    kept = torch.tensor([-torch.inf, 1.0, -torch.inf, 2.0]).softmax(-1)
    assert torch.allclose(shares(top_k=2), kept, atol=1e-3)
    assert shares(top_k=1).tolist() == [0, 0, 0, 1]
    edges = torch.tensor([0.0, 1.0 - 1e-16], dtype=torch.float64)
    assert Sampling().choose(logits_BV[:2], edges).tolist() == [0, 3]


@pytest.mark.parametrize(
    "how", [{"temperature": 1e-320}, {"temperature": 1e-320, "top_k": 2}], ids=str
)
def test_the_lowest_temperature_takes_the_likeliest_token(how):
    logits_BV = torch.tensor([[0.0, 1.0, -torch.inf, 2.0], [-3.0, -5.0, -4.0, -9.0]])
    chance_B = torch.tensor([0.5, 0.999])
    assert Sampling(**how).choose(logits_BV, chance_B).tolist() == [3, 0]


def test_a_top_k_of_none_is_refused(polynomial):
    with pytest.raises(ValueError, match="top_k must be at least 1; got 0"):
        polynomial.generate(top_k=0)


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"top_k": 0}, {"seed": -1}], ids=str
)
def test_impossible_draws_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must be"):
        Sampling(**wrong)


def test_a_sample_does_not_depend_on_how_many_there_are(text):
    how = {"temperature": 1.0, "seed": 3, "most": 20}
    many = [one.tokens for one in text.generate("Petra", count=5, **how)]
    few = [one.tokens for one in text.generate("Petra", count=2, **how)]
    assert many[:2] == few
    assert len(set(many)) == 5
    other = text.generate("Petra", temperature=1.0, seed=4, most=20)
    assert other[0].tokens != many[0]
    assert text.generate("Petra", top_k=1, most=20)[0].tokens == (
        text.generate("Petra", most=20)[0].tokens
    )


def test_a_text_goes_on_after_its_prompt(text):
    (one,) = text.generate("Petra", most=12)
    assert one.text == text.text(one.tokens)
    assert one.right is None
    row = list(one.prompt)
    for place, token in enumerate(one.tokens):
        logits_HV = [text.logits(torch.tensor([row]), head)[0] for head in (1, 2)]
        assert logits_HV[0][-1].argmax() == token
        ((name, said),) = one.drafts
        assert said[place] == logits_HV[1][-2].argmax()
        row.append(token)
    assert name == "horizon=2"
    with pytest.raises(ValueError, match=r"count is 2, but .* Give a temperature"):
        text.generate("Petra", most=12, count=2)
    with pytest.raises(ValueError, match="is on text: give it a prompt"):
        text.generate()
    with pytest.raises(ValueError, match="prompt has no tokens"):
        text.generate("")
    with pytest.raises(ValueError, match="text must be of one token or more"):
        text.tokens("")


def test_learned_positions_bound_what_is_written(tmp_path):
    run = quietly(text_run(tmp_path, positions="learned"), tmp_path)
    context = run.config.training.context
    for how in ({}, {"temperature": 1.0}):
        (one,) = run.generate("Petra", **how)
        assert len(one.tokens) == context - len("Petra")
    assert len(run.generate("P" * (context - 1))[0].tokens) == 1
    with pytest.raises(ValueError, match="longer than the 24 positions"):
        run.generate("P" * context)


def test_the_test_set_is_answered_as_evaluation_does(polynomial):
    rows = polynomial.task.evaluation_sets(4)[0].rows[:4]
    (decoded_RT,) = greedy_decode(polynomial.model, rows, torch.device("cpu"))
    for row, one in enumerate(polynomial.generate(count=4)):
        answer_T = rows.answer_RT[row]
        assert list(one.tokens) == decoded_RT[row][answer_T].tolist()
        expected = (decoded_RT[row] == rows.tokens_RT[row]).all()
        assert one.right == expected


def test_an_expression_of_ones_own_is_evaluated(polynomial):
    (one,) = polynomial.generate("([1 2]+[0 2])")
    assert polynomial.text(one.prompt) == "( [ 1 2 ] + [ 0 2 ] ) ="
    question = polynomial.task.read_question(list(one.prompt))
    right = polynomial.tokenizer.encode("1 1 .")
    assert judge(polynomial.task, question, right) is True
    assert judge(polynomial.task, question, right[::-1]) is False
    for wrong, reason in (
        ("[1 2]+[0 2]", "it ends after token 4"),
        ("([1 2 0]+[0 2])", "token 5 must be ]"),
        ("([1 2]+", "token 7 must be one of"),
    ):
        with pytest.raises(ValueError, match=reason):
            polynomial.generate(wrong)


def test_values_of_expressions_are_those_of_the_generator():
    task = PolynomialConfig(pause_tokens=2).build()
    for chosen in task.evaluation_sets(20):
        for row in range(40):
            rows = chosen.rows[row : row + 1]
            (start,) = rows.answer_RT.argmax(1)
            asked = task.read_question(rows.tokens_RT[0, :start].tolist())
            whole = rows.tokens_RT[0, rows.example_RT[0] > 0]
            assert asked.rows.tokens_RT[0].tolist() == whole.tolist()


def test_right_answers_of_every_task_are_right():
    """Questions of the test set, asked again, with the answers that were drawn."""
    judged = []
    for kind, config in members("task").items():
        if kind in ("stories", "text", "mqar", "k-hop"):
            continue
        task = config().build()
        for chosen in questions(task, 2):
            (start,), (room,) = answer_places(chosen.rows, task.end_token)
            inside_T = chosen.rows.example_RT[0, start:] > 0
            answer = chosen.rows.tokens_RT[0, start:][inside_T].tolist()
            assert len(answer) <= room
            # Examples without a question are drawn: another one is as good.
            asks = kind not in ("choice-points", "sources")
            assert judge(task, chosen, answer) is (True if asks else None), kind
            prompt = chosen.rows.tokens_RT[0, :start].tolist()
            symbols = Symbols(task.vocabulary)
            assert symbols.encode(symbols.decode(prompt)) == prompt
            asked = task.read_question(prompt)
            if asked is not None:
                found = judge(task, asked, answer)
                known = task.verifies or kind == "polynomial"  # the others do not solve
                assert found is (True if known else None), kind
                judged.append(kind)
    assert {"polynomial", "countdown", "sat", "maze", "graph-paths"} <= set(judged)


@pytest.mark.parametrize("kind", ["mqar", "k-hop"])
def test_examples_of_several_queries_are_no_prompts(kind):
    task = members("task")[kind]().build()
    with pytest.raises(
        ValueError, match="has no prompts: its rows have several answers"
    ):
        questions(task, 1)
    assert task.read_question([1, 2, 3]) is None


def test_paths_end_with_their_token(tmp_path):
    run = quietly(path_run(), tmp_path)
    chosen = questions(run.task, 1)[0]
    for one in answers(run.model, run.task, chosen, Sampling(seed=1), 4):
        assert one.right in (True, False)
        assert one.tokens[:-1].count(run.task.end_token) == 0
    source, target = chosen.rows.tokens_RT[0, :2]
    prompt = run.text([source, target])
    assert run.generate(prompt)[0].prompt == (source, target)
    with pytest.raises(ValueError, match="two nodes"):
        run.generate(prompt.split()[0])


def test_the_command_prints_answers_drafts_and_json(polynomial, capsys):
    words = ["generate", str(polynomial.path), "--count", "2"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.count("(right)") + out.count("(wrong)") == 2
    assert out.count("horizon=2") == 2
    assert " passes\n" in out
    assert main([*words, "--json", "--temperature", "1", "--seed", "2"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [type(one["right"]) for one in records] == [bool, bool]
    assert all(np.isin(one["tokens"], range(15)).all() for one in records)
    assert main([*words, "--prompt", "(1)"]) == 2
    assert "This is no expression: token 2 must be" in capsys.readouterr().err
