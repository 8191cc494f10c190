"""The scheduler's words, and what they mean; no scheduler is asked."""

import subprocess
import sys

import pytest

from slurm import queue as scheduler
from slurm.queue import QueueUnavailable, parse_squeue, read_history, read_queue


def answering(stdout="", returncode=0, stderr=""):
    def ask(*command, timeout_s=0.0):
        ask.commands.append(command)
        return subprocess.CompletedProcess(command, returncode, stdout, stderr)

    ask.commands = []
    return ask


SHOWN = """\
12_0|RUNNING|None|n1|20261122-a
12_1|PENDING|Resources||20261122-a
13|PENDING|launch failed requeued held||b
14|PENDING|JobHeldUser||c
15|REQUEUE_HOLD|None||d
16|COMPLETED|None|n2|name|with|bars
not a line
"""


def test_squeue_is_parsed():
    queue = parse_squeue(SHOWN)
    assert list(queue) == ["12_0", "12_1", "13", "14", "15", "16"]
    assert queue["12_0"].node == "n1"
    assert queue["16"].name == "name|with|bars"
    assert [entry.live for entry in queue.values()] == [True] * 5 + [False]
    held = [entry.held for entry in queue.values()]
    assert held == [False, False, True, True, True, False]


def test_one_squeue_asks_for_everything():
    ask = answering(SHOWN)
    assert len(read_queue(ask)) == 6
    assert len(ask.commands) == 1
    assert ask.commands[0][:5] == ("squeue", "-h", "-r", "-t", "all")


def test_a_squeue_that_fails_is_no_empty_queue():
    refusal = "slurm_load_jobs error: Unable to contact slurm controller"
    with pytest.raises(QueueUnavailable, match="Unable to contact"):
        read_queue(answering(returncode=1, stderr=refusal))


def test_history_survives_without_accounting():
    disabled = "Slurm accounting storage is disabled"
    assert read_history(["12_0"], answering(returncode=1, stderr=disabled)) == {}
    ask = answering("unasked")
    assert read_history([], ask) == {}
    assert ask.commands == []

    def absent(*command, timeout_s=0.0):
        raise QueueUnavailable("sacct is not on PATH")

    assert read_history(["12_0"], absent) == {}


def test_history_reads_first_words_and_skips_ranges():
    text = "12_0|CANCELLED by 0|0:15|n1|a\n12_[1-3]|PENDING|0:0||a\n13|TIMEOUT|0:0|n2|b|c\n"
    ask = answering(text)
    found = read_history(["12_0", "12_1", "13"], ask)
    assert {key: entry.state for key, entry in found.items()} == {
        "12_0": "CANCELLED",
        "13": "TIMEOUT",
    }
    assert found["13"].name == "b|c"
    assert ask.commands[0][-1] == "12,13"


def test_clients_that_are_absent_or_silent():
    with pytest.raises(QueueUnavailable, match="not on PATH"):
        scheduler.ask("no-such-client-of-slurm")
    with pytest.raises(QueueUnavailable, match="no answer within 0 s"):
        scheduler.ask(sys.executable, "-c", "import time; time.sleep(9)", timeout_s=0.1)
