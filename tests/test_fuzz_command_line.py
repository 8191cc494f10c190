"""Any value for any option: accepted, or refused with status 2 and a name.

The name is that of an option, or the value. SYNTH_FUZZ=1000 tries more, other ones.
"""

import contextlib
import importlib
import io
import os
import re
import signal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

COMMANDS = {
    "synth": {
        "describe": [],
        **{f"sample {task}": [] for task in ("polynomial", "repeats", "maze")},
        **{
            f"train {task}": [] for task in ("polynomial", "stories", "sources", "text")
        },
        "evaluate": ["runs/x"],
    },
    "sweeps": {
        "list": [],
        "plan": ["quick"],
        "run": ["quick"],
        "status": [],
        "show": ["x"],
        "tune": ["quick"],
    },
    "slurm": {"status": ["runs"], "logs": ["x"], "cancel": ["runs"]},
    "analysis": {"collect": [], "merge": ["x"], "claims": []},
}
RUN = ("describe", "plan", "status", "show", "logs", "cancel", "evaluate")
"""Commands that also run: they train nothing and write nothing."""
PATIENCE_S = 20
"""Of processor time. One that sleeps is ended by the time limit of the test."""
HOSTILE = [
    *(
        "",
        " ",
        "-1",
        "0",
        "1",
        "2",
        "1e3",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "0x10",
        "1_0",
    ),
    *("None", "True", "9" * 30, "9" * 5000, str(2**31), str(2**63), "1.5", "\u0663"),
    *("\0", "\ud800", "caf\u00e9", "\u202e", "~", "~nobody/x", "$NOWHERE", "/dev/null"),
    *("--", "-", "--help=1", "{}", "[]", "%s", "*", "../x", "a" * 300, "a,b", "a=b"),
]
words = st.one_of(
    st.sampled_from(HOSTILE),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=12),
)


def options(module, command):
    """The options in the help of a command."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit):
        module.parse([*command.split(), "--help"])
    names = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", shown.getvalue()))
    return sorted(names - {"--help"})


def outcome(module, arguments, runs):
    """The exit status and what was said; anything but a refusal is raised."""
    said, printed = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed):
        try:
            if runs:
                return module.main(arguments), said.getvalue()
            module.parse(arguments)
        except ValueError as error:
            return 2, str(error)
        except SystemExit as end:
            return end.code, said.getvalue()
    return 0, ""


@contextlib.contextmanager
def patience():
    def late(number, frame):
        raise TimeoutError("the command line hangs")

    previous = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


CASES = [(room, command) for room, commands in COMMANDS.items() for command in commands]


@pytest.mark.parametrize(("room", "command"), CASES)
def test_any_value_of_any_option(room, command, tmp_path_factory, monkeypatch):
    module = importlib.import_module(f"{room}.__main__")
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    monkeypatch.delenv("NOWHERE", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    known = options(module, command)
    assert known
    fixed = [*command.split(), *COMMANDS[room][command]]
    refused_anyway = outcome(module, fixed, command in RUN)[1]

    @settings(
        max_examples=int(os.environ.get("SYNTH_FUZZ", "10")),
        deadline=None,
        database=None,
        derandomize="SYNTH_FUZZ" not in os.environ,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(known), words)
    def fuzz(option, word):
        with patience():
            arguments = [*fixed, option, word]
            status, said = outcome(module, arguments, command in RUN)
        assert status in (0, 1, 2), (arguments, status)
        assert "Traceback" not in said
        if status == 2:
            if said == refused_anyway:
                return
            flat = re.sub(r"[^\w]+", "_", said)
            names = [re.sub("^--(no-)?", "", one).replace("-", "_") for one in known]
            shown = [re.sub(r"\W", "", text) for text in (word, repr(word), said)]
            named = any(name in flat for name in names)  # two may contradict each other
            valued = shown[0] in shown[2] or shown[1] in shown[2]
            assert named or valued, (arguments, said)

    fuzz()
