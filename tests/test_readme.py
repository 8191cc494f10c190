"""What the README shows must exist: targets, commands, the example of a sweep."""

import json
import math
import re
import shlex
from pathlib import Path

import pytest

from synth.__main__ import main, parse
from synth.families import members
from synth.scales import SCALES

TASKS = members("task")

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
TEXTS = ("input.txt", "tales.jsonl", "books.jsonl")
"""Files of the reader that the commands name."""


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
    write_texts(tmp_path)
    words = [str(tmp_path / word) if word in TEXTS else word for word in words]
    if words[0] == "describe" and "refused" in README.split(command)[1][:20]:
        assert main(words) == 2
        return
    if words[0] == "sample":
        assert main(words) == 0
    else:
        parse(words)


def test_the_character_model_trains_as_shown(tmp_path, capsys):
    """The command to the letter, but for the number of steps and the place of runs."""
    (command,) = [line for line in COMMANDS if "--tokens characters" in line]
    write_texts(tmp_path)
    words = shlex.split(command)[3:]
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
