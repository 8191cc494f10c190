"""What the README shows must exist: targets, commands, the example of a sweep."""

import re
import shlex
from pathlib import Path

import pytest

from synth.__main__ import main, parse
from synth.scales import SCALES
from synth.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
SHOWN = [
    line.partition("#")[0].strip()
    for kind, block in BLOCKS
    if not kind
    for line in block.splitlines()
]
COMMANDS = [line for line in SHOWN if line.startswith("python -m synth ")]


def test_every_target_shown_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    shown = set(re.findall(r"`make ([a-z-]+)", README))
    shown |= {words.split()[1] for words in SHOWN if words.startswith("make ")}
    assert {"quick", "test", "sweep", "plan", "status"} <= shown <= targets


def test_every_target_of_the_makefile_says_what_it_does():
    for line in (ROOT / "Makefile").read_text().splitlines():
        if re.match(r"[a-z-]+:(?!=)", line):
            assert " ## " in line, line


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shown_is_understood(command, tmp_path):
    words = shlex.split(command)[3:]
    text = tmp_path / "input.txt"
    text.write_text("Once upon a time there was a text.\n" * 200)
    words = [str(text) if word == "input.txt" else word for word in words]
    if words[0] == "describe" and "refused" in README.split(command)[1][:20]:
        assert main(words) == 2
        return
    if words[0] == "sample":
        assert main(words) == 0
    else:
        parse(words)


def test_there_are_commands_to_check():
    assert len(COMMANDS) >= 5


def test_the_tables_name_every_task_and_size():
    for name in (*TASKS, *SCALES):
        assert re.search(rf"`[^`]*\b{name}\b[^`]*`", README), name


def test_the_example_of_a_sweep_can_be_planned(tmp_path, capsys):
    from sweeps.__main__ import main as sweeps

    (example,) = [block for kind, block in BLOCKS if kind == "python"]
    path = tmp_path / "my_sweep.py"
    path.write_text(example)
    assert sweeps(["plan", str(path), "--runs", str(tmp_path / "runs")]) == 0
    assert "12 runs" in capsys.readouterr().out
