"""The READMEs: commands are parsed or run, Python is executed, links and trees exist."""

import importlib
import importlib.util
import json
import math
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from synth.families.family import members
from synth.scales import SCALES
from synth.shapes.mixer_shapes import Mixer

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("synth", "sweeps", "slurm", "analysis")
READMES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (ROOT / "README.md", *(ROOT / room / "README.md" for room in ROOMS))
}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
FILES = ("input.txt", "tales.jsonl", "books.jsonl")
"""Files of the reader that the commands name."""
PLACEHOLDERS = ("RUN", "ID", "NAME", "FILE", "PATH", "SWEEP", "mysite", "...")
RUN_AS_SHOWN = {
    ("synth", "tasks"),
    ("synth", "objectives"),
    ("synth", "sample"),
    ("synth", "describe"),
    ("sweeps", "list"),
    ("sweeps", "plan"),
    ("sweeps", "status"),
    ("slurm", "profiles"),
    ("analysis", "claims"),
}
"""Commands that only print; the others are parsed."""


@dataclass(frozen=True)
class Shown:
    """A command in a README."""

    readme: str
    line: str
    comment: str

    def __str__(self):
        return f"{self.readme}: {self.line}"

    @property
    def words(self):
        return shlex.split(self.line)

    @property
    def is_example(self):
        """Whether a word stands for something of the reader's own."""
        return any(mark in self.line for mark in PLACEHOLDERS)


def commands():
    """Every command in a plain block or a code span, without repeats."""
    found = {}
    for readme, text in READMES.items():
        blocks = [block for kind, block in BLOCK.findall(text) if not kind]
        lines = [line for block in blocks for line in block.splitlines()]
        prose = BLOCK.sub("", text)
        lines += [re.sub(r"\s+", " ", span) for span in INLINE.findall(prose)]
        for line in lines:
            command, _, comment = line.partition(" # ")
            words = command.split()
            if words[:2] == ["python", "-m"] or (words[:1] == ["make"] and words[1:]):
                found.setdefault(
                    command.strip(), Shown(readme, command.strip(), comment)
                )
    return list(found.values())


COMMANDS = commands()
OF_ROOMS = [c for c in COMMANDS if c.words[0] == "python" and c.words[2] in ROOMS]
OF_MAKE = [c for c in COMMANDS if c.words[0] == "make"]
OTHERS = [c for c in COMMANDS if c not in OF_ROOMS and c not in OF_MAKE]
NAMED = re.compile(
    r"(?:`(\w+\.py)`[^`\n]*:\n\n)?^```python\n(?:# (\w+\.py)\n)?(.*?)^```",
    re.MULTILINE | re.DOTALL,
)
"""A Python block, and the name under which the reader saves it, if it has one."""


def write_texts(folder):
    """Small texts in their place; one is of about as many letters as Shakespeare."""
    line = (
        "In the hall sat Marlo, and Marlo said to Petra, come; so Petra and Marlo ran."
    )
    alphabet = "".join(map(chr, range(ord("A"), ord("z") + 1)))
    play = "".join(f"{alphabet[i % 58]}: {i} {line}\n" for i in range(200))
    (folder / "input.txt").write_text(play)
    for name, word in (("tales", "tale"), ("books", "book")):
        rows = [
            {"title": f"{word} {chr(97 + i % 26) * (1 + i // 26)}", "text": text}
            for i in range(120)
            for text in (f"{word} {chr(97 + i % 26) * (1 + i // 26)}. {line}",)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)


def write_python(folder, readme):
    """The Python blocks of a README as files, under the names that it gives them."""
    written = []
    for number, found in enumerate(NAMED.findall(READMES[readme])):
        above, inside, block = found
        path = folder / (above or inside or f"block_{number}.py")
        path.write_text(block)
        written.append(path)
    return written


def test_there_are_commands_of_every_room():
    assert {command.words[2] for command in OF_ROOMS} == set(ROOMS)
    assert len(OF_ROOMS) > 30
    assert len(OF_MAKE) > 15


@pytest.mark.parametrize("command", OF_ROOMS, ids=str)
def test_every_command_of_a_room_is_understood(command, tmp_path, monkeypatch):
    write_texts(tmp_path)
    write_python(tmp_path, command.readme)
    monkeypatch.chdir(tmp_path)
    room, *words = command.words[2:]
    module = importlib.import_module(f"{room}.__main__")
    if (room, words[0]) in RUN_AS_SHOWN and not command.is_example:
        assert module.main(words) == (2 if "refused" in command.comment else 0)
    else:
        module.parse(words)


@pytest.mark.parametrize("command", OF_MAKE, ids=str)
def test_every_job_of_make_can_be_planned(command, tmp_path):
    """`make --dry-run`, with the Makefile's own words for variables."""
    _, target, *variables = command.words
    text = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:.*## ", text, re.MULTILINE), target
    for variable in variables:
        name = variable.partition("=")[0]
        assert f"$({name})" in text, name
    words = ["make", "--dry-run", target, *variables, f"VENV={tmp_path}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", OTHERS, ids=str)
def test_other_programs_shown_exist_with_their_options(command):
    source = importlib.util.find_spec(command.words[2])
    assert source is not None
    text = Path(source.origin).read_text()
    for word in command.words[3:]:
        if word.startswith("--"):
            assert f'"{word}"' in text, word


def test_every_target_of_the_makefile_says_what_it_does():
    for line in (ROOT / "Makefile").read_text().splitlines():
        if re.match(r"[a-z-]+:(?!=)", line):
            assert " ## " in line, line


def run_python(path):
    """What a file prints, run where it lies."""
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=path.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("readme", [f"{room}/README.md" for room in ROOMS])
def test_every_python_block_of_a_room_runs(readme, tmp_path):
    for path in write_python(tmp_path, readme):
        run_python(path)


def test_the_run_of_the_readme_is_trained_and_read(tmp_path):
    """Both runs end, and their losses are printed from start to end."""
    (path,) = write_python(tmp_path, "README.md")
    printed = run_python(path)
    assert printed.count("horizon=1") >= 2
    for arm in ("n1", "n2"):
        (folder,) = (tmp_path / "runs").glob(f"repeats-{arm}-10k-s0-*")
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        loss = [
            row["value"]
            for row in map(json.loads, lines)
            if (row["suite"], row["metric"], row["slice"])
            == ("test", "loss", "horizon=1")
        ]
        assert loss[0] > loss[-1] > 0
        assert f"{loss[-1]:.6f}" in printed


def test_the_example_of_a_sweep_can_be_planned(tmp_path, capsys):
    from sweeps.__main__ import main as sweeps

    write_python(tmp_path, "sweeps/README.md")
    path = tmp_path / "my_sweep.py"
    assert sweeps(["plan", str(path), "--runs", str(tmp_path / "runs")]) == 0
    assert "9 runs" in capsys.readouterr().out


def test_the_character_model_trains_as_shown(tmp_path, capsys):
    """The command to the letter, but for the number of steps and the place of runs."""
    from synth.__main__ import main

    (command,) = [one for one in COMMANDS if "--tokens characters" in one.line]
    write_texts(tmp_path)
    words = command.words[3:]
    words[words.index("input.txt")] = str(tmp_path / "input.txt")
    for option, value in (("--steps", "6"), ("--warmup-steps", "2")):
        words[words.index(option) + 1] = value
    assert main([*words, "--runs", str(tmp_path / "runs"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "done"
    (folder,) = (tmp_path / "runs").glob("text-n1-d128-L4-h4-s0-*")
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    loss = [row["value"] for row in map(json.loads, lines) if row["suite"] == "test"]
    vocabulary = 2 + len(set((tmp_path / "input.txt").read_text()))
    assert loss[0] == pytest.approx(math.log(vocabulary), abs=0.15)


@pytest.mark.parametrize("readme", READMES)
def test_links_lead_somewhere(readme):
    for target in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", READMES[readme])):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / readme).parent / path if path else ROOT / readme
        assert file.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            anchors = {
                re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in heads
            }
            assert anchor in anchors, target


def tree(readme):
    """Paths that the tree of a README draws, relative to the README."""
    text = READMES[readme]
    if readme == "README.md":
        text = text.partition("## The tree")[2]
    block = next(block for kind, block in BLOCK.findall(text) if not kind)
    above, found = "", []
    for line in block.splitlines():
        name = line.split()[0]
        if not line.startswith(" "):
            above = name if name.endswith("/") else ""
            found.append(name)
        else:
            found.append(above + name)
    return found


@pytest.mark.parametrize("readme", READMES)
def test_trees_name_what_exists(readme):
    here = (ROOT / readme).parent
    for name in tree(readme):
        if name not in ("runs/", "figures/"):  # made by the commands
            assert (here / name).exists(), name
            assert name.endswith("/") == (here / name).is_dir(), name


def test_trees_leave_nothing_out():
    """Every folder of a room, and every file of `synth` itself."""
    for room in ROOMS:
        named = {name.rstrip("/") for name in tree(f"{room}/README.md")}
        for path in (ROOT / room).iterdir():
            is_code = path.suffix == ".py" and not path.name.startswith("__")
            if path.is_dir() and not path.name.startswith(("__", ".")):
                assert path.name in named, path
            elif is_code and room == "synth":
                assert path.name in named, path
                assert f"synth/{path.name}" in tree("README.md"), path


def test_every_task_objective_mixer_and_size_is_named():
    kinds = [
        kind
        for family in ("task", "objective")
        for kind, config in members(family).items()
        if config.__module__.startswith("synth.")  # not those of other tests
    ]
    for name in (*kinds, *SCALES, *get_args(Mixer)):
        for readme in ("README.md", "synth/README.md"):
            assert re.search(rf"`[^`]*\b{name}\b[^`]*`", READMES[readme]), name


def test_every_subcommand_is_named(capsys):
    everything = "\n".join(READMES.values())
    for room in ROOMS:
        with pytest.raises(SystemExit):
            importlib.import_module(f"{room}.__main__").parse(["--help"])
        listed = re.search(r"\{([\w,-]+)\}", capsys.readouterr().out)
        for name in listed[1].split(","):
            shown = rf"python -m {room} {name}\b|make ([a-z]+-)?{name}\b"
            assert re.search(shown, everything), f"{room} {name}"


def test_extras_that_are_installed_exist():
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in READMES.values():
        for extra in re.findall(r"--editable '\.\[([\w-]+)\]'", text):
            assert extra in known["optional-dependencies"], extra


@pytest.mark.parametrize("readme", READMES)
def test_prose_is_wrapped(readme):
    prose = BLOCK.sub("", READMES[readme])
    for line in prose.splitlines():
        if not line.startswith(("|", "![")):
            assert len(line) <= 92, line


def test_the_readme_stays_short():
    assert len(READMES["README.md"].split()) <= 1300
