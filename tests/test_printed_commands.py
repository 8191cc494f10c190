"""Commands that the code tells people to type: the real parsers accept each of them."""

import importlib
import pkgutil
import re
import shlex
from pathlib import Path

import pytest

import sweeps.catalogue
from analysis.statements import CLAIMS
from sweeps.catalogue import CATALOGUE
from tests.test_readme import ROOMS, ROOT, write_texts

MODULES = [
    importlib.import_module(f"sweeps.catalogue.{module.name}")
    for module in pkgutil.iter_modules(sweeps.catalogue.__path__)
]
SHOWN = re.compile(r"python -m (?:synth|sweeps|slurm|analysis) [^`;#\n]*")
"""A command up to the end of its line, of its code span or of its part of a line."""
SAID = re.compile(r"python -m (synth|sweeps|slurm|analysis) ([a-z][a-z-]*)")
"""The beginning of a command, anywhere in a file."""


def lines_shown():
    """Every command that a claim, a sweep or a module of the catalogue prints."""
    texts = [claim.settled_by.partition("  # ")[0] for claim in CLAIMS]
    texts += [line for one in CATALOGUE.values() for line in one.answers.split("; ")]
    texts += [module.__doc__ or "" for module in MODULES]
    found = [line.strip() for text in texts for line in SHOWN.findall(text)]
    return list(dict.fromkeys(found))


def test_there_are_commands_of_every_source():
    lines = lines_shown()
    assert sum(line.startswith("python -m sweeps ") for line in lines) > 20
    for room in ("synth", "sweeps", "analysis"):
        assert any(f"-m {room} " in line for line in lines), room


@pytest.mark.parametrize("line", lines_shown())
def test_a_command_that_is_shown_is_understood(line, tmp_path, monkeypatch):
    _, _, call = line.partition(" -m ")
    room, *words = shlex.split(call)
    write_texts(tmp_path)
    monkeypatch.chdir(tmp_path)
    own = {"YOUR.txt": "input.txt", "$s": "0"}  # the reader's file and loop
    words = [own.get(word, word) for word in words]
    importlib.import_module(f"{room}.__main__").parse(words)


@pytest.mark.parametrize("room", ROOMS)
def test_every_command_that_a_message_names_exists(room):
    """In the code, strings that go on in the next line included."""
    known = {
        name: importlib.import_module(f"{name}.__main__").commands() for name in ROOMS
    }
    named = 0
    for path in sorted((ROOT / room).rglob("*.py")):
        text = re.sub(r'"\s*\n\s*f?"', "", path.read_text())
        for module, command in SAID.findall(text):
            assert command in known[module], f"{path}: python -m {module} {command}"
            named += 1
    assert named


def test_every_target_that_a_message_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    named = {
        target
        for path in (*files, *Path(ROOT, "tests", "bench").glob("*.py"))
        for target in re.findall(r"`make ([a-z-]+)", path.read_text())
    }
    assert named
    assert named <= targets
