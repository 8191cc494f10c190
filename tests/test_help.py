"""The help of every command, and how each refuses a wrong word: plain, in one line."""

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
PROFILE = re.compile(r"--profile PROFILE(.*?profiles`\)\.)", re.DOTALL)
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
        profiles |= {
            " ".join(about.replace("│", " ").split()) for about in PROFILE.findall(text)
        }
        commands += 1
    assert commands > 90
    assert len(profiles) == 1, "--profile means one thing"


KINDS = (r"INT(?! \.)", r"FLOAT(?! \.)", r"(INT|FLOAT) \.\.\.", r"\{")
"""Metavars of options that refuse `nope`: numbers, lists of them, choices."""

UNTOLD = r" (is missing|is empty|needs a value)\."
"""Of a command that wants other words first."""


def refusal(words, capsys):
    assert console.main(words) == 2, words
    captured = capsys.readouterr()
    assert captured.err.startswith("error: "), captured.err
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def test_every_command_refuses_a_wrong_word_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("sys.argv", ["synth"])
    tried = 0
    for words, text in walk([]):
        if SUBCOMMAND.search(text):
            continue
        said = refusal([*words, "--not-there"], capsys)
        assert "no option --not-there" in said or re.search(UNTOLD, said), said
        for kind in KINDS:
            option = re.search(rf"^[ │]+(--[a-z-]+) +{kind}", text, re.MULTILINE)
            if option is None:
                continue
            said = refusal([*words, option[1], "nope"], capsys)
            must = f"{option[1]} must be " in said and "; got 'nope'." in said
            assert must or re.search(UNTOLD, said), said
            tried += 1
    assert tried > 100


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sweeps", "A word is missing after synth sweeps. Known: list, plan, run, "),
        ("sweeps nope", "synth sweeps has no 'nope'. Known: list, plan, run, "),
        ("sweeps run", "SWEEP is missing. Help: synth sweeps run --help"),
        ("sweeps run quick more", "synth sweeps run does not take 'more'."),
        ("sweeps run quick --seed 3", "no option --seed. Did you mean --seeds?"),
        ("sweeps tune quick --rates 1 x", "--rates must be a number; got 'x'."),
        ("slurm cluster nope", "ACTION must be one of up, down, status; got 'nope'."),
        ("train", "A word is missing after synth train. Known: polynomial, "),
        ("analysis merge x", "--to is missing."),
    ],
)
def test_a_refusal_says_what_is_wrong_and_what_fits(words, said, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["synth"])
    assert said in refusal(words.split(), capsys)


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
