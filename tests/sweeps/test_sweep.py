"""What a sweep is, the catalogue, and sweeps in a user's own file."""

import json

import pytest

from analysis.statements import CLAIMS
from sweeps.catalogue import CATALOGUE
from sweeps.catalogue.polynomial import polynomial, polynomial_pause, polynomial_sizes
from sweeps.cells import cell_key
from sweeps.from_python import train_here
from sweeps.inspection import List
from sweeps.sweep import SCALES, sweep
from sweeps.sweep_lookup import find_sweep
from synth.config import RunConfig
from tests.conftest import tiny_run
from tests.sweeps.conftest import call_process


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_sweep_builds_at_every_scale_and_says_what_it_is_for(name):
    chosen = CATALOGUE[name]
    assert chosen.name == name
    assert chosen.about.endswith(".")
    assert chosen.figure
    assert chosen.claims or chosen.answers
    assert set(chosen.claims) <= {claim.id for claim in CLAIMS}
    for scale in chosen.scales:
        configs = chosen(scale)
        assert configs
        assert len({config.run_id for config in configs}) == len(configs)


def training(config):
    """The values of table S13, in its order."""
    t = config.training
    return (
        t.tokens_per_step / 2**20,
        t.steps,
        t.warmup_steps,
        t.learning_rate,
        t.context,
        t.decay_ratio,
        t.beta1,
        t.beta2,
        t.weight_decay,
        t.clip_norm,
    )


def test_the_paper_scale_is_tables_s13_and_s14():
    faithful = {"30M": (512, 10, 8, 1024), "100M": (768, 14, 12, 2048)}
    runs = polynomial_sizes("paper")
    pairs = {(c.model.scale, c.training.context) for c in runs}
    assert pairs == {("30M", 1024), ("100M", 2048), ("100M", 1024)}
    for config in polynomial("paper") + polynomial_pause("paper") + runs:
        width, layers, heads, context = faithful[config.model.scale]
        shape = config.model.shape
        assert (shape.width, shape.layers, shape.heads) == (width, layers, heads)
        rest = (0.03, 0.9, 0.95, 0.1, 1.0)
        expected = (0.25, 100_000, 2000, 1e-4, config.training.context, *rest)
        assert training(config) == expected
        assert config.training.context in (context, 1024)
        task = config.task
        assert (task.modulus, task.degree, task.max_operations) == (7, 5, 5)
        assert config.training.final_examples == 2000


def test_sizes_are_compared_at_their_own_and_at_one_context():
    for scale in SCALES:
        runs = polynomial_sizes(scale)
        cells = {(c.model.scale, c.training.context) for c in runs}
        sizes, contexts = {size for size, _ in cells}, {t for _, t in cells}
        assert (len(sizes), len(contexts), len(cells)) == (2, 2, 3)
        assert len({c.training.tokens_per_step for c in runs}) == 1
        smaller = runs[0].model.scale
        assert {t for size, t in cells if size == smaller} == {min(contexts)}


def test_the_runs_of_figure_8_are_those_of_the_other_two_figures():
    for scale in SCALES:
        figure_8 = {config.run_id for config in polynomial(scale)}
        assert figure_8 < {config.run_id for config in polynomial_pause(scale)}
        assert figure_8 < {config.run_id for config in polynomial_sizes(scale)}


def test_every_cell_has_the_same_seeds():
    """Differences are paired by seed, so a missing seed would waste its partners."""
    for chosen in CATALOGUE.values():
        for scale in chosen.scales:
            seeds = {}
            for config in chosen(scale):
                seeds.setdefault(cell_key(config), set()).add(config.seed)
            assert len({frozenset(found) for found in seeds.values()}) == 1


def test_a_sweep_refuses_what_is_no_sweep():
    @sweep()
    def odd(scale: str):
        """Odd."""
        yield tiny_run()
        yield tiny_run() if scale == "quick" else "a string"

    with pytest.raises(ValueError, match="more than once"):
        odd("quick")
    with pytest.raises(ValueError, match="item 1 is of type str"):
        odd("small")
    with pytest.raises(ValueError, match="Did you mean 'paper'"):
        odd("papr")

    @sweep()
    def impossible(scale: str):
        """Impossible."""
        yield tiny_run(horizon=9)

    with pytest.raises(
        ValueError, match=r"impossible run in .*\(line \d+\): Objective"
    ):
        impossible("quick")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("yield from ()", "'mine' at scale 'quick' holds no run: its function must"),
        ("...", "holds no run"),
        ("return {}['a']", r"fails in .*mine.py \(line 5\): KeyError: 'a'"),
        ("return len(3)", r"\(line 5\): TypeError"),
        ("raise SystemExit(3)", r"\(line 5\): SystemExit: 3"),
        ("raise ValueError('odd')", r"impossible run in .*mine.py \(line 5\): odd"),
    ],
)
def test_a_function_that_gives_no_runs_is_a_mistake(tmp_path, body, message):
    path = tmp_path / "mine.py"
    head = "from sweeps.sweep import sweep\n@sweep()\ndef mine(scale):\n"
    path.write_text(f"{head}    'Mine.'\n    {body}\n")
    with pytest.raises(ValueError, match=message):
        find_sweep(str(path))("quick")


def test_a_sweep_has_a_scale():
    with pytest.raises(ValueError, match="has no scale: leave `scales` out"):
        sweep(scales=())(lambda scale: [tiny_run()])


def test_a_sweep_of_a_users_own_file(sweep_file):
    path = sweep_file(seeds=2)
    found = find_sweep(str(path))
    assert (found.name, found.figure, found.claims) == ("depths", "mine", ("C7",))
    configs = found("quick")
    assert len(configs) == 8
    assert all(isinstance(config, RunConfig) for config in configs)
    assert find_sweep(f"{path}:depths")("quick") == configs
    assert found.folder("small") == "depths-small"


def test_a_list_has_no_empty_words(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(
        "from sweeps.sweep import sweep\nfrom tests.conftest import tiny_run\n"
        "@sweep(scales=('quick',))\ndef mine(scale):\n"
        "    'One run.'\n    yield tiny_run()\n"
    )
    assert List(file=str(path)).run() == 0
    assert capsys.readouterr().out.splitlines()[1:] == [f"{'':<22} runs: quick 1"]


@pytest.mark.parametrize("given", ["mine.py", lambda scale: [tiny_run()]])
def test_what_is_no_sweep_is_refused_in_python(given, tmp_path):
    with pytest.raises(ValueError, match="sweep must be a function under @sweep; got"):
        train_here(given, tmp_path)


def test_the_sweeps_of_a_file_are_listed(sweep_file, capsys):
    assert List(file=str(sweep_file(seeds=2)), json=True).run() == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["runs"] == {"quick": 8, "small": 28}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "holds no sweep. Decorate a function"),
        ("x = (", r"\(line 1\) fails: SyntaxError"),
        ("x = 1\ny = x / 0", r"\(line 2\) fails: ZeroDivisionError"),
        ("import sys\nsys.exit(3)", r"\(line 2\) fails: SystemExit: 3"),
        ("from sweeps.catalogue.quick import quick", "holds no sweep"),
        (
            "from sweeps.sweep import sweep\n@sweep()\ndef polynomial(scale): ...",
            "folder polynomial-.* is that of 'polynomial' of the catalogue too",
        ),
        (
            "from sweeps.sweep import sweep\n"
            "@sweep(scales=('one',))\ndef polynomial_small(scale): ...",
            "folder polynomial-small is that of 'polynomial' of the catalogue too",
        ),
        (
            "from sweeps.sweep import sweep\n"
            "@sweep(name='x')\ndef a(scale): ...\n@sweep(name='x')\ndef b(scale): ...",
            "'x', whose folder x-.* is that of 'x' of this file too",
        ),
        (
            "from sweeps.sweep import sweep\n@sweep()\ndef a(scale): ...\n"
            "@sweep()\ndef b(scale): ...",
            "holds 2 sweeps. Choose one: .*:a, .*:b",
        ),
    ],
)
def test_a_file_that_holds_no_sweep(tmp_path, text, message):
    path = tmp_path / "odd.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        find_sweep(str(path))


def test_names_that_are_not_known():
    with pytest.raises(ValueError, match="There is no file"):
        find_sweep("nowhere.py")
    with pytest.raises(ValueError, match="Did you mean 'polynomial'"):
        find_sweep("polynomia")


def test_no_two_sweeps_of_the_catalogue_share_a_folder():
    folders = [folder for one in CATALOGUE.values() for folder in one.folders]
    assert len(folders) == len(set(folders))


def test_a_sweep_of_a_file_may_have_two_names(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from sweeps.sweep import sweep\n@sweep()\ndef a(scale): ...\nagain = a\n"
    )
    assert find_sweep(str(path)).name == "a"


def test_folders_are_named_after_sweep_and_scale():
    assert CATALOGUE["quick"].folder("quick") == "quick"
    assert CATALOGUE["polynomial"].folder("paper") == "polynomial-paper"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("scales=5", r"@sweep\(scales=...\) of 'mine' must be a tuple of words"),
        ("scales='quick'", "must be a tuple of words"),
        ("scales=(5,)", "5 is part of a folder's name"),
        ("scales=('a/b',)", "'a/b' is part of a folder's name"),
        ("name='../x'", "'../x' is part of a folder's name"),
        ("name='a/b'", "'a/b' is part of a folder's name"),
        ("name='..'", "'..' is part of a folder's name"),
        ("name='.sweep'", "'.sweep' is part of a folder's name"),
        ("name='a\\nb'", "is part of a folder's name"),
        ("claims='C7'", "claims=...* must be a tuple of words"),
        ("metric=3", "metric=...* must be text; got 3"),
    ],
)
def test_what_a_sweep_declares_is_checked_where_it_stands(
    tmp_path, monkeypatch, given, message
):
    head = f"from sweeps.sweep import sweep\n\n@sweep({given})\ndef mine(scale): ..."
    (tmp_path / "mine.py").write_text(head)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        find_sweep("mine.py")
    assert str(caught.value).startswith("mine.py (line 3) fails: ")


NOISY = """
print("from the file")
from helper import runs
from sweeps.sweep import sweep

@sweep(scales=("quick",))
def mine(scale):
    'Mine.'
    print("from the function")
    yield from runs()
"""
HELPER = """
from synth.config import RunConfig
from synth.tasks.repeats import RepeatsConfig

def runs():
    return [RunConfig(task=RepeatsConfig())]
"""


@pytest.mark.parametrize("name", ["json", "dataclasses", "my_sweep"])
def test_a_file_may_print_have_helpers_beside_it_and_any_name(tmp_path, name):
    """`python -m` looks for modules where one stands; a sweep's file is none of them."""
    (tmp_path / f"{name}.py").write_text(NOISY)
    (tmp_path / "helper.py").write_text(HELPER)
    found = json.loads(call_process("plan", f"{name}.py", "--json", cwd=tmp_path))
    assert found["counts"] == {"new": 1}
