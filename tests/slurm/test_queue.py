"""The scheduler's words, and what they mean; no scheduler is asked."""

import os
import subprocess
import sys

import pytest

from slurm import clients
from slurm.clients import QueueUnavailable, clean_environment
from slurm.queue import parse_squeue, read_history, read_queue


def answering(stdout="", returncode=0, stderr=""):
    def ask(*command, timeout_s=0.0, text=None):
        ask.commands.append(command)
        return subprocess.CompletedProcess(command, returncode, stdout, stderr)

    ask.commands = []
    return ask


SHOWN = """\
12_0|RUNNING|None|n1|0|20261122-a
12_1|PENDING|Resources||0|20261122-a
13|PENDING|launch failed requeued held||0|b
14|PENDING|JobHeldUser||0|c
15|REQUEUE_HOLD|None||0|d
16|COMPLETED|None|n2|7|name with $bars$
12_[2-9]|PENDING|None||0|folded
-u root|RUNNING|None||0|no id
not a line
""".replace("|", "\x1f").replace("$", "|")


def test_squeue_is_parsed():
    queue = parse_squeue(SHOWN)
    assert list(queue) == ["12_0", "12_1", "13", "14", "15", "16"]
    assert (queue["12_0"].node, queue["12_0"].user) == ("n1", "0")
    assert (queue["16"].name, queue["16"].user) == ("name with |bars|", "7")
    assert [entry.live for entry in queue.values()] == [True] * 5 + [False]
    held = [entry.held for entry in queue.values()]
    assert held == [False, False, True, True, True, False]


def test_one_squeue_asks_for_everything():
    ask = answering(SHOWN)
    assert len(read_queue(ask)) == 6
    assert len(ask.commands) == 1
    assert ask.commands[0][:5] == ("squeue", "-h", "-r", "-t", "all")
    read_queue(ask, [1234, os.getuid()])
    assert ask.commands[1][6] == ",".join(map(str, sorted({1234, os.getuid()})))


def test_a_squeue_that_fails_is_no_empty_queue():
    refusal = "slurm_load_jobs error: Unable to contact slurm controller"
    with pytest.raises(QueueUnavailable, match="Unable to contact"):
        read_queue(answering(returncode=1, stderr=refusal))


def test_what_squeue_complains_about_is_one_line():
    said = "squeue: error: no host\nsqueue: error: no host\nsqueue: fatal: no source\n"
    with pytest.raises(QueueUnavailable) as caught:
        read_queue(answering(returncode=1, stderr=said))
    message = "squeue failed: squeue: error: no host; squeue: fatal: no source"
    assert str(caught.value) == message


def test_history_survives_without_accounting():
    disabled = "Slurm accounting storage is disabled"
    assert read_history(["12_0"], answering(returncode=1, stderr=disabled)) == {}
    ask = answering("unasked")
    assert read_history([], ask) == {}
    assert ask.commands == []

    def absent(*command, timeout_s=0.0, text=None):
        raise QueueUnavailable("sacct is not on PATH")

    assert read_history(["12_0"], absent) == {}


def test_history_reads_first_words_and_skips_ranges():
    text = "12_0|CANCELLED by 0|0:15|n1|a\n12_[1-3]|PENDING|0:0||a\n13|TIMEOUT|0:0|n2|b$c\n"
    ask = answering(text.replace("|", "\x1f").replace("$", "|"))
    found = read_history(["12_0", "12_1", "13"], ask)
    assert {key: entry.state for key, entry in found.items()} == {
        "12_0": "CANCELLED",
        "13": "TIMEOUT",
    }
    assert found["13"].name == "b|c"
    assert ask.commands[0][-1] == "12,13"


def test_clients_that_are_absent_or_silent():
    with pytest.raises(QueueUnavailable, match="not on PATH"):
        clients.ask("no-such-client-of-slurm")
    with pytest.raises(QueueUnavailable, match="no answer within 0 s"):
        clients.ask(sys.executable, "-c", "import time; time.sleep(9)", timeout_s=0.1)


def test_a_configuration_that_is_gone_is_not_waited_for(monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    with pytest.raises(QueueUnavailable, match=r"SLURM_CONF names .*slurm.conf, which"):
        clients.ask(sys.executable, "-c", "import time; time.sleep(9)")
    (tmp_path / "slurm.conf").touch()
    assert clients.ask(sys.executable, "-c", "print(1)").stdout == "1\n"


def test_clients_see_no_settings_of_the_shell_that_calls(monkeypatch):
    """Nothing in the shell or in an interactive job changes what is asked or sent."""
    kept = {"SLURM_CONF": "/etc/x", "SLURM_JWT": "token", "PATH": "/bin", "HOME": "/h"}
    kept |= {"SYNTH_CACHE": "/c", "OMP_NUM_THREADS": "2", "SLURMISH": "no setting"}
    names = """SQUEUE_PARTITION SQUEUE_NAMES SQUEUE_FORMAT SACCT_FORMAT SBATCH_PARTITION
        SBATCH_TIMELIMIT SBATCH_NO_REQUEUE SBATCH_EXPORT SLURM_MEM_PER_CPU SLURM_CLUSTERS
        SLURM_JOB_ID SLURM_TIME_FORMAT SLURM_CPU_BIND SRUN_CPUS_PER_TASK SALLOC_QOS
        SCONTROL_ALL SINFO_FORMAT SCANCEL_STATE SLURMD_NODENAME PMIX_RANK PMI_RANK
        SUBMITIT_PREEMPT_SIGNAL SLURM_ARRAY_TASK_ID""".split()
    found = clean_environment(kept | dict.fromkeys(names, "1"))
    assert found == kept
    devices = {"CUDA_VISIBLE_DEVICES": "3"}
    assert clean_environment(devices) == devices  # a person's own choice
    assert clean_environment({"SLURM_JOB_ID": "7"} | devices) == {}
    for name in names:
        monkeypatch.setenv(name, "1")
    script = "import os; print(*os.environ); print(input())"
    said = clients.ask(sys.executable, "-c", script, text="in\n").stdout.splitlines()
    assert not set(said[0].split()) & set(names)
    assert said[1] == "in"


def test_bytes_that_are_no_text_are_shown_somehow():
    script = "import sys; sys.stdout.buffer.write(bytes([120, 255, 10]))"
    assert clients.ask(sys.executable, "-c", script).stdout == "x\ufffd\n"


def test_a_controller_that_is_down_is_asked_once_and_costs_no_time(monkeypatch):
    asked = []

    def ask(*command, timeout_s=0.0, text=None):
        asked.append(command)
        said = f"\nSlurmctld(primary) at a is {state}\nSlurmctld(backup) at b is DOWN\n"
        return subprocess.CompletedProcess(command, 0, said, "")

    monkeypatch.setattr(clients, "ask", ask)
    state, prompt = "DOWN", clients.PromptAsk()
    for _ in range(3):
        with pytest.raises(QueueUnavailable, match=r"answer: .* at a is DOWN; Slurm"):
            read_queue(prompt)
    assert asked == [("scontrol", "ping")]
    state, prompt = "UP", clients.PromptAsk()
    for _ in range(2):
        prompt("squeue")
    assert asked[1:] == [("scontrol", "ping"), ("squeue",), ("squeue",)]

    def silent(*command, timeout_s=0.0, text=None):
        ask(*command)
        raise QueueUnavailable("no answer within 30 s")

    monkeypatch.setattr(clients, "ask", silent)
    for _ in range(2):
        with pytest.raises(QueueUnavailable, match="no answer within"):
            prompt("squeue")
    assert asked[4:] == [("squeue",)]
