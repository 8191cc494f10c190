"""Each mistake in a task or objective of one's own is one line, with status 2."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from synth.__main__ import main
from synth.cli.command_line import status
from synth.config import RunConfig
from synth.families import family, own_errors, plugins
from synth.run.store import RunFolder
from synth.training import train
from tests.conftest import tiny_run
from tests.sweeps.test_own_task import FILES, blocks, python


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Save a file of the pages in which some words are replaced."""
    known = {name: dict(family.members(name)) for name in family._MEMBERS}
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)

    def save(old, new, file="reversal.py"):
        text = blocks("python")[FILES.index(file)]
        assert old in text
        Path(file).write_text(text.replace(old, new))
        return Path(file)

    yield save
    for name, members in family._MEMBERS.items():
        members.clear()
        members.update(known[name])


def own_run(file):
    """A small run of the task in the file."""
    task = plugins.load(file).ReversalConfig()
    return replace(tiny_run(), task=task)


def sampled(config: RunConfig):
    config.build_task().samples(0, 2)
    return 0


def checked(config: RunConfig):
    config.require_data()
    return 0


DRAW = "np.hstack([words, equals, words[:, ::-1]])"
RETURN = f"return {DRAW}, words"
KIND = '    kind: ClassVar[str] = "reversal"\n'


@pytest.mark.parametrize("use", [sampled, checked])
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (DRAW, f"{DRAW} + 30", "Reversal.draw returned token 39; the vocabulary has ids"),
        (DRAW, f"{DRAW} - 9", "Reversal.draw returned token -8; the vocabulary has ids"),
        (DRAW, f"{DRAW} - 1", "Reversal.draw returned token 0; the vocabulary has ids"),
        (DRAW, f"{DRAW} * 1.0", "Reversal.draw must be an array of whole numbers; got"),
        (DRAW, "words", "Reversal.draw must be examples of 9 tokens, its `length`"),
        (RETURN, f"return {DRAW}", "Reversal.draw must be two values, the examples"),
        (RETURN, f"return {DRAW}, words[:, 0]", "Reversal.draw must be problems as an"),
        ("2 * config.length + 1", "config.length", "Reversal.answer_start must be from"),
        ("self.length = 2", "self.size = 2", "Reversal has no length: set self.length"),
        (RETURN, "return words.no", "reversal.py (line 51) fails: AttributeError: "),
        ("count, 1", "1, 1", "reversal.py (line 51): all the input array"),
        ("def build(", "def made(", "reversal.py: ReversalConfig does not define build."),
        (" = identity(4)", " = 4", "reversal.py: ReversalConfig.length is not declared"),
        (KIND, "", "reversal.py: ReversalConfig has no `kind` of its own, by which"),
        ("length: int", 'length: "Int"', "reversal.py: the type of a field of Rev"),
        ('"accuracy", "share", "higher"', '"a", "", "up"', "reversal.py (line 20) fails: "
         "ValueError: Metric 'a': better must be 'higher', 'lower' or None; got 'up'."),
        ("floor=0.0, ceiling=1.0)", "floor='no')", "ReversalConfig.metrics: floor of 'acc"
         "uracy' must be a number, or one of accuracy, whole, loss; got 'no'."),
        ("return Reversal(self)", "Reversal(self)", "ReversalConfig.build must be a method "
         "that returns a Task; got None."),
    ],
)  # fmt: skip
def test_a_mistake_in_a_task_is_one_line(saved, capsys, use, old, new, said):
    file = saved(old, new)
    assert status(lambda: use(own_run(file))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: " + said), line


def test_a_task_of_another_kind_needs_a_kind_of_its_own(saved):
    """A class that others derive from needs none, as long as these have one."""
    derived = "\n\n@dataclass(frozen=True, kw_only=True)\nclass Other(ReversalConfig):"
    file = saved(KIND, KIND)
    text = file.read_text()
    file.write_text(f'{text}{derived}\n    """Same kind."""\n')
    with pytest.raises(
        ValueError, match=r"reversal\.py: Other has no `kind` of its own"
    ):
        plugins.load(file)
    own = '    kind: ClassVar[str] = "other"\n'
    file.write_text(f"{text.replace(KIND, '')}{derived}\n{own}")
    assert plugins.load(file).Other().kind == "other"


def test_an_exception_in_a_run_names_file_and_line(saved):
    config = own_run(saved("right = scores", "right = {}['k'] or scores"))
    (outcome,) = train([config], Path("runs"))
    assert outcome.message == "reversal.py (line 54) fails: KeyError: 'k'"


def test_a_loss_that_is_not_finite_at_once_does_not_blame_the_rate(saved):
    file = saved("offset=self.far)", "offset=self.far, weight=1e38)", "leap.py")
    objective = plugins.load(file).LeapConfig()
    (outcome,) = train([replace(tiny_run(), objective=objective)], Path("runs"))
    assert outcome.state == "failed"
    terms = (
        r"step 1: loss [\d.]+ \(horizon=1\), [\d.]+ \(horizon=3\), gradient norm inf"
    )
    assert re.search(terms, outcome.message)
    assert outcome.message.endswith("look at the losses and weights of the objective.")


def test_an_exception_in_a_recorded_file_names_file_and_line(
    saved, monkeypatch, capsys
):
    file = saved("return Reversal(self)", "return {}['k']")
    config = own_run(file)
    folder = RunFolder(Path("runs"), config.run_id)
    folder.open(config)
    del family._MEMBERS["task"]["reversal"]
    for known in list(own_errors.named):
        monkeypatch.delitem(own_errors.named, known)
    assert status(lambda: folder.config().build_task()) == 2
    said = f"error: {file.absolute()} (line 36) fails: KeyError: 'k'\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("use", ["samples", "require_data"])
def test_rows_of_a_task_with_examples_of_several_lengths_are_checked(saved, use):
    """`train_rows` is the task's own."""
    own = """        return Rows(*np.full((3, 4, context), 12))

    def draw("""
    text = saved(
        "    def draw(", "    def train_rows(self, seed, block, context):\n" + own
    )
    text.write_text(
        text.read_text().replace("import TaskConfig", "import Rows, TaskConfig")
    )
    config = own_run(text)
    with pytest.raises(
        ValueError, match=r"Reversal\.train_rows returned token 12; the"
    ):
        (sampled if use == "samples" else checked)(config)


EVALUATION = """    def evaluation_sets(self, examples):
        from synth.tasks.task import EvaluationSet

        (whole,) = super().evaluation_sets(examples)
        hard = EvaluationSet("hard", whole.rows[:KEPT])
        return SETS

    def draw("""


@pytest.mark.parametrize(
    ("sets", "kept", "said"),
    [
        ("[]", "1", "(8) returned no set, so nothing would be measured. Return"),
        ("[whole, hard]", "0", "(8) returned the set 'hard' without examples, so its"),
        ("[hard]", "examples // 8", "(4) returned the set 'hard' without examples"),
        ("[hard]", "examples % 8", "(8) returned the set 'hard' without examples"),
    ],
)
def test_an_evaluation_set_without_examples_is_refused(saved, sets, kept, said):
    """Of the 4 examples while the run trains, and of the 8 at its end."""
    own = EVALUATION.replace("SETS", sets).replace("KEPT", kept)
    config = own_run(saved("    def draw(", own))
    with pytest.raises(ValueError, match=re.escape(f"Reversal.evaluation_sets{said}")):
        config.require_data()


def test_a_metric_that_is_not_declared_stops_the_run_before_its_first_step(saved):
    config = own_run(saved('"whole", "", right', '"hole", "", right'))
    (outcome,) = train([config], Path("runs"))
    assert outcome.state == "failed"
    assert (
        "Reversal measures 'hole', which its configuration does not declare. Declared "
        "in `metrics`: accuracy, whole, loss." in outcome.message
    )
    assert not list(Path("runs").glob("*/checkpoint/*"))


@pytest.mark.parametrize(
    ("old", "new", "got"),
    [
        ("return [", "[", "None"),
        ("return [", "return [('whole', 1.0),", "('whole', 1.0)"),
    ],
)
def test_scores_that_are_none_are_refused_by_name(saved, old, new, got):
    (outcome,) = train([own_run(saved(old, new))], Path("runs"))
    assert outcome.state == "failed"
    said = f"Reversal.score must return a list of Score; got {got}"
    assert said in outcome.message


SCORE = "Score.mean(chosen.suite"
RETURNED = "return [whole, *prediction_scores(chosen, scores, answers=True)]"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            RETURNED,
            "return [whole, whole]",
            "measures test/whole twice in one evaluation",
        ),
        (RETURNED, "return []", "returned no score of any evaluation set, so nothing"),
        (SCORE, "Score(chosen.suite, 'whole', 3, 1.0, 1); (0", "a Score must be words"),
        (SCORE, "Score('test', 'whole', '', 1.0, -4); (0", "a Score must be words for"),
        (
            SCORE,
            "Score('test', 'whole', '', right, 1); (0",
            "a Score must be words for",
        ),
        (SCORE, "Score('test', 'whole', '', '1', 1); (0", "a Score must be words for"),
    ],
)
def test_scores_that_mean_nothing_are_refused(saved, old, new, said):
    """Of two numbers of one name every reader would take another one."""
    (outcome,) = train([own_run(saved(old, new))], Path("runs"))
    assert outcome.state == "failed"
    assert (
        f"Reversal{'.score: ' if 'a Score' in said else ' '}{said}" in outcome.message
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("def arm(self)", "def arn(self)", "leap.py: LeapConfig does not define arm."),
        (" = identity(3)", " = 3", "leap.py: LeapConfig.far is not declared with"),
        (
            "far: int",
            "steps: int = identity(3)\n    far: int",
            "LeapConfig.steps cannot be "
            "an option: `train` has --steps already. Give the field another name.",
        ),
        (
            "return layers - 2",
            "layers - 2",
            "LeapConfig.trunk_layers(4) must be a whole number; got None.",
        ),
        (
            "offset=1)",
            "offset=1, weight=float('nan'))",
            "LeapConfig.heads(), head 1: weight must be a finite number; got nan.",
        ),
        (
            "offset=1)",
            "offset=1, layers=0.5)",
            "LeapConfig.heads(), head 1: layers must be "
            "a whole number from 0; got 0.5.",
        ),
    ],
)
def test_a_mistake_in_an_objective_is_one_line(saved, old, new, said):
    file = saved(old, new, "leap.py")
    words = ("train", "repeats", "--objective", "leap", "--scale", "d16-L4-h2")
    more = ("--steps", 9999, "--plugin", file)
    (line,) = python("-m", "synth", *words, *more, cwd=".", status=2).splitlines()
    assert line.startswith(f"error: {said}")


@pytest.mark.parametrize("field", ["seed", "horizon", "batch_rows", "threads"])
def test_a_field_that_is_an_option_already_is_one_line(saved, capsys, field):
    file = saved("length: int", f"{field}: int = identity(1)\n    length: int")
    plugins.load(file)
    assert main(["train", "reversal", "--steps", "3"]) == 2
    option = "--" + field.replace("_", "-")
    assert capsys.readouterr().err == (
        f"error: ReversalConfig.{field} cannot be an option: `train` has {option} "
        "already. Give the field another name.\n"
    )


def test_a_fault_of_this_package_is_no_mistake_of_a_person():
    def fault():
        raise KeyError("lost")

    with pytest.raises(KeyError):
        status(fault)


def test_the_line_of_a_syntax_error_is_one_of_the_file_that_is_named(tmp_path):
    """Not one of a file that it imports; a file that is no text has none."""
    (tmp_path / "halfway.py").write_text("\n\n\nx = (")
    (tmp_path / "whole.py").write_text("import halfway\n")
    (tmp_path / "other.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"whole\.py \(line 1\) fails: .* line 4\)"):
        plugins.load(tmp_path / "whole.py")
    with pytest.raises(ValueError, match=r"other\.py fails: SyntaxError: source code"):
        plugins.load(tmp_path / "other.py")
