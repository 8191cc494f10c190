"""Notebooks run from end to end, on the fixture, and match their scripts."""

import re
import shutil
from pathlib import Path
from typing import get_args

import pytest

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

from analysis.claims import Verdict  # noqa: E402
from analysis.notebooks import display as display_module  # noqa: E402
from analysis.notebooks.display import execute, scripts  # noqa: E402

ROOT = Path(__file__).parents[2]


def test_there_is_one_a_family():
    names = [path.stem for path in scripts()]
    assert names == ["explanations", "induction", "polynomial", "yours"]


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.stem)
def test_executes_on_the_fixture(script, results, monkeypatch):
    monkeypatch.setenv("SYNTH_RESULTS", str(results))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = execute(script, ROOT)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert not [o for o in outputs if o.output_type == "error"]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 3
    text = "".join(o.get("data", {}).get("text/markdown", "") for o in outputs)
    if script.stem == "yours":
        assert text.count("| where | scale | arm |") == 2, "a table a task"
        return
    assert re.search(rf"\*\*({'|'.join(get_args(Verdict))})\*\*", text)
    assert "| claim | test |" in text


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.stem)
def test_cells_run_on_a_table_without_the_task(script, results, tmp_path, monkeypatch):
    """The code of a notebook, with pictures and tables that go nowhere."""
    source = "c" if script.stem == "polynomial" else "p"
    shutil.copy(results / f"{source}.parquet", tmp_path)
    monkeypatch.setenv("SYNTH_RESULTS", str(tmp_path))
    monkeypatch.setattr(display_module, "display", lambda what: None)
    exec(compile(script.read_text(), str(script), "exec"), {"__name__": "cells"})


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.stem)
def test_committed_notebook_is_that_script_executed(script):
    notebook = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    written = [(cell.cell_type, cell.source) for cell in notebook.cells]
    assert written == [(c.cell_type, c.source) for c in jupytext.read(script).cells]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
