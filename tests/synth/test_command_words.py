"""Messages name commands in the form in which the process was called."""

import ast
import re
from pathlib import Path

import pytest

from analysis.parquet import read
from sweeps.next_commands import next_commands
from synth.command_words import as_typed
from synth.run.standing import Standing, Survey

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("synth", "sweeps", "slurm", "analysis")
FORM = re.compile(rf"python -m ({'|'.join(ROOMS)})\b(?!\.)")


def strings(path):
    """The constants of a file but docstrings."""
    tree = ast.parse(path.read_text())
    stated = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in stated:
            yield str(node.value)


def test_no_message_writes_one_form_itself():
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    written = {
        str(path.relative_to(ROOT))
        for path in files
        if any(FORM.search(text) for text in strings(path))
    }
    assert not written
    assert len(files) > 250


@pytest.mark.parametrize(
    ("called", "sweeps", "synth"),
    [
        ("/usr/bin/synth", "synth sweeps run x", "synth train"),
        ("/x/sweeps/__main__.py", "python -m sweeps run x", "python -m synth train"),
    ],
)
def test_commands_have_the_form_of_the_call(called, sweeps, synth, monkeypatch):
    monkeypatch.setattr("sys.argv", [called])
    assert (as_typed("sweeps run x"), as_typed("synth train")) == (sweeps, synth)
    begin = sweeps.removesuffix("sweeps run x")
    with pytest.raises(ValueError, match=f"first: {begin}analysis collect"):
        read(Path("nowhere.parquet"))
    waiting = Survey(Path("runs"), [Standing("a", "new")])
    assert next_commands(waiting, []) == [f"{begin}sweeps run runs"]
