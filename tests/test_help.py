"""The help of every command: no placeholder of the parser's own reaches a person."""

import contextlib
import io
import re

import pytest

from synth.cli import console

NOISE = (
    "{None",  # an optional value
    "[[",
    "(default: )",
    "(default: None)",
    "(default: False)",
    "(default: '')",
    "--no-json",
)
SUBCOMMAND = re.compile(r"^[ │]+• (\S+)", re.MULTILINE)
PROFILE = re.compile(r"^[ │]+--profile (.*)$", re.MULTILINE)
REPEATED = re.compile(r"\[([^\s\]]+) \[\1")  # [PATH [PATH ...]]


def help_of(words):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as end:
        console.main([*words, "--help"])
    assert end.value.code == 0
    return out.getvalue()


def walk(words):
    """The help of a command and of all below it."""
    text = help_of(words)
    yield words, text
    for name in SUBCOMMAND.findall(text):
        yield from walk([*words, name])


def test_no_help_shows_what_the_parser_calls_things(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("sys.argv", ["synth"])
    profiles = set()
    commands = 0
    for words, text in walk([]):
        shown = [one for one in NOISE if one in text]
        assert not shown, (words, shown)
        assert not REPEATED.search(text), (words, REPEATED.search(text).group())
        assert text.startswith(f"usage: synth {' '.join(words)}".rstrip()), words
        profiles |= {" ".join(about.split()) for about in PROFILE.findall(text)}
        commands += 1
    assert commands > 90
    assert len(profiles) == 1, "--profile means one thing"


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (["generate"], "RUN"),
        (["evaluate"], "RUN"),
        (["export"], "RUN FOLDER"),
        (["track"], "RUN ..."),
        (["probe", "law"], "RUN ..."),
        (["probe", "induction"], "RUN ..."),
        (["sweeps", "show"], "RUN"),
        (["slurm", "logs"], "RUN"),
        (["slurm", "cancel"], "RUN ..."),
        (["analysis", "attention"], "RUN"),
    ],
)
def test_every_command_takes_runs_in_the_same_place(words, usage):
    line = help_of(words).split("\n\n")[0]
    assert re.search(rf"\[-h\].* \[?{re.escape(usage)}", " ".join(line.split()))
