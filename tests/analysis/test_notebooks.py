"""Notebooks run from end to end, on the fixture, and match their scripts."""

import re
import shutil
import sys
from pathlib import Path
from typing import get_args

import pytest

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

from IPython.display import Image, Markdown  # noqa: E402

from analysis.__main__ import main  # noqa: E402
from analysis.claims import Verdict  # noqa: E402
from analysis.notebooks import display as display_module  # noqa: E402
from analysis.notebooks.command import Notebooks  # noqa: E402
from analysis.notebooks.display import execute, scripts  # noqa: E402

ROOT = Path(__file__).parents[2]


def test_there_is_one_a_family():
    names = [path.stem for path in scripts()]
    assert names == ["explanations", "induction", "polynomial", "yours"]


EACH = pytest.mark.parametrize("script", scripts(), ids=lambda path: path.stem)


@pytest.fixture
def run_cells(monkeypatch):
    """Run the code of a notebook here, on these tables; returns what it displays."""
    shown = []

    def run(script, tables):
        monkeypatch.setenv("SYNTH_RESULTS", str(tables))
        monkeypatch.setattr(display_module, "display", shown.append)
        code = script.read_text()
        code = code.replace('sweep = "repeats"', f"sweep = {str(tables)!r}")
        exec(compile(code, str(script), "exec"), {"__name__": "cells"})
        return shown

    return run


@EACH
def test_shows_pictures_verdicts_and_tables(script, results, run_cells):
    shown = run_cells(script, results)
    assert sum(isinstance(one, Image) for one in shown) >= 3
    text = "".join(one.data for one in shown if isinstance(one, Markdown))
    if script.stem == "yours":
        assert text.count("| where | scale | arm |") == 2, "a table a task"
        return
    assert re.search(rf"\*\*({'|'.join(get_args(Verdict))})\*\*", text)
    assert "| claim | test |" in text


@EACH
def test_cells_run_on_a_table_without_the_task(script, results, tmp_path, run_cells):
    source = "c" if script.stem == "polynomial" else "p"
    shutil.copy(results / f"{source}.parquet", tmp_path)
    assert run_cells(script, tmp_path)


def test_a_kernel_executes_one(results, monkeypatch):
    """As every one is executed; `yours` is below, by the command."""
    monkeypatch.setenv("SYNTH_RESULTS", str(results))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    (script,) = [path for path in scripts() if path.stem == "polynomial"]
    notebook = execute(script, ROOT)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert not [o for o in outputs if o.output_type == "error"]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 3
    text = "".join(o.get("data", {}).get("text/markdown", "") for o in outputs)
    assert "| claim | test |" in text


@EACH
def test_committed_notebook_is_that_script_executed(script):
    notebook = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    written = [(cell.cell_type, cell.source) for cell in notebook.cells]
    assert written == [(c.cell_type, c.source) for c in jupytext.read(script).cells]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)


def test_command_executes_yours_on_a_table_from_any_folder(
    results, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    table = shutil.copy(results / "c.parquet", "mine.parquet")
    for name in ("analysis.py", "json.py", "polars.py"):
        Path(name).write_text("raise SystemExit('MY file was imported')\n")
    assert main(["notebooks", str(table)]) == 0
    assert capsys.readouterr().out == "mine.ipynb\n"
    notebook = nbformat.read("mine.ipynb", as_version=4)
    (given,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    sweep, _, files = given.source.splitlines()
    assert (sweep, files) == ("sweep = 'mine.parquet'", "plugins = []")
    assert all(c.execution_count for c in notebook.cells if c.cell_type == "code")
    edited = Path("mine.ipynb")  # by its reader, who keeps the edits
    edited.write_text("edited")
    assert main(["notebooks", str(table)]) == 2
    assert "mine.ipynb exists. Remove it first, or name" in capsys.readouterr().err
    assert edited.read_text() == "edited"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "'nothing' is neither a table"),
        (["repeats", "--to", "mine.html"], "--to must be a path that ends in .ipynb"),
        (["--to", "mine.ipynb"], "--to must be given with SWEEP"),
    ],
)
def test_command_refuses_mistakes_before_it_executes(
    words, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["notebooks", *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_parameter_that_the_command_does_not_have_is_refused(capsys):
    assert main(["notebooks", "--swep", "repeats"]) == 2
    assert "--swep" in capsys.readouterr().err


def test_notebooks_without_their_packages_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nbformat", None)
    with pytest.raises(ValueError, match=r"nbformat.*'\.\[notebooks\]'"):
        Notebooks(sweep="repeats").run()
