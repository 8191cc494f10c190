"""How commands end, and how words become values, whatever the command."""

import errno
import os
import re
import sys
from dataclasses import dataclass, field

import pytest
import tyro

from synth.cli import console
from synth.cli.command_line import status
from synth.cli.parsing import parse
from synth.cli.usage_errors import usage_errors_raised


@dataclass(frozen=True)
class Inner:
    """A part that refuses negative sizes."""

    size: int = 1
    share: float = 1

    def __post_init__(self):
        if self.size < 0:
            raise ValueError(f"Inner.size must be at least 0; got {self.size}.")


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command."""

    inner: Inner = field(default_factory=Inner)
    limit: int | None = None
    rates: tuple[float, ...] = ()
    name: str | int = "a"


@dataclass(frozen=True)
class Other:
    """Another."""


def read(words):
    commands = {"command": Command, "other": Other}
    return parse(commands, "room", "about", ["command", *words.split()])


def test_numbers_with_and_without_none():
    assert read("").limit is None
    assert read("--limit 3").limit == 3
    assert read("--limit None --size 2 --share 3").inner == Inner(2, 3.0)
    assert read("--rates 1e-3 2").rates == (1e-3, 2.0)
    assert read("--name x").name == "x"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--size 1e3", "a whole number; got '1e3'. Write 1000."),
        ("--size 1.5", "a whole number; got '1.5'."),
        ("--size inf", "a whole number; got 'inf'."),
        ("--limit many", "a whole number; got 'many'."),
        ("--share much", "a number; got 'much'."),
    ],
)
def test_what_is_no_number_is_said_plainly(words, said):
    message = f"{words.split()[0]} must be {said} Help: python -m room command --help"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        read(words)


@pytest.mark.parametrize("option", ["--rates", "--limit"])
def test_an_option_without_a_value_is_not_the_empty_list(option):
    with pytest.raises(ValueError, match=f"^{option} needs a value. Help: "):
        read(option)


def test_a_parser_without_the_hook_prints_its_own_words(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tyro._errors", None)
    with usage_errors_raised(), pytest.raises(SystemExit) as caught:
        tyro.cli(int, args=["--nope"], default=1)
    assert caught.value.code == 2
    assert "--nope" in capsys.readouterr().err


def test_a_refusal_keeps_its_own_words():
    with pytest.raises(ValueError, match=r"^Inner.size must be at least 0; got -1.$"):
        read("--size -1")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("x must be 1."), "error: x must be 1.\n"),
        (OSError("no table"), "error: no table\n"),
        (
            OSError(errno.ENOENT, os.strerror(errno.ENOENT), "a/b"),
            "error: a/b: No such file or directory.\n",
        ),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            "error: No space left on device. Make room, then call again.\n",
        ),
        (
            PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/etc/x"),
            "error: /etc/x: Permission denied. Choose a place that you may read "
            "and write, or ask for the right to.\n",
        ),
    ],
)
def test_a_mistake_is_one_message_and_status_2(error, said, capsys):
    def call():
        raise error

    assert status(call) == 2
    assert capsys.readouterr().err == said


def test_a_defect_keeps_its_traceback():
    def call():
        raise KeyError("x")

    with pytest.raises(KeyError):
        status(call)
    assert status(call, lambda: (KeyError,)) == 2


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("train text", ["--corpus FILE|FOLDER", "--tokenizer-file FILE"]),
        ("train star", ["--test-file FILE"]),
        ("evaluate", ["--corpus FILE|FOLDER", "--books FILE|FOLDER"]),
        ("probe law", ["--model MODEL", "--corpus FILE|FOLDER"]),
        ("sweeps run", ["--where FIELD=VALUE ...", "--scale SCALE"]),
        ("analysis plot", ["--metric METRIC", "--hue HUE"]),
    ],
)
def test_help_says_what_a_text_is(words, shown, capsys):
    with pytest.raises(SystemExit):
        console.main([*words.split(), "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "STR" not in said.replace("STRIDE", "")
    for option in shown:
        assert option in said
