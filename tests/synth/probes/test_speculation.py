"""Forced acceptance against a slow loop, and the probe on runs of a few steps."""

import json

import numpy as np
import pytest
import torch

from synth.__main__ import main
from synth.decoding import DraftCounts, draft_heads, greedy_decode
from synth.metrics import from_line
from synth.probes.speculation import _scores, forced_counts, with_second_halves
from synth.tasks.task import Rows
from tests.synth.test_decoding import CHAIN, PARALLEL, random_model, random_rows


def slow_counts(model, rows, lane):
    """Position by position: what a pass that begins there would accept."""
    heads = draft_heads(model.objective)
    checked, accepted = [0] * len(heads), [0] * len(heads)
    tokens = torch.from_numpy(rows.tokens_RT).expand(model.num_lanes, -1, -1)
    said_NRT = model(tokens)[:, lane].argmax(-1).tolist()
    for row, line in enumerate(rows.tokens_RT.tolist()):
        for t in np.flatnonzero(rows.answer_RT[row]) - 1:
            follows = said_NRT[0][row][t] == line[t + 1]
            for depth, head in enumerate(heads):
                there = t + depth + 1
                if not follows or there + 1 >= len(line):
                    break
                checked[depth] += 1
                if said_NRT[head - 1][row][t] != said_NRT[0][row][there]:
                    break
                accepted[depth] += 1
                follows = said_NRT[0][row][there] == line[there + 1]
    return checked, accepted


@pytest.mark.parametrize("objective", [PARALLEL, CHAIN], ids=lambda one: one.arm)
def test_forced_acceptance_equals_a_slow_loop(objective):
    """On rows whose first ones are what a lane would say by itself, partly."""
    model, rows = random_model(objective), random_rows()
    tokens_RT = rows.tokens_RT.copy()
    decoded_KRT = greedy_decode(model, rows, torch.device("cpu"))
    tokens_RT[::2] = decoded_KRT[0, ::2]
    tokens_RT[1::2, :12] = decoded_KRT[1, 1::2, :12]
    rows = Rows(tokens_RT, rows.example_RT, rows.answer_RT)
    counts = forced_counts(model, rows)
    for lane in range(2):
        checked, accepted = slow_counts(model, rows, lane)
        assert counts.checked_KJ[lane].tolist() == checked
        assert counts.accepted_KJ[lane].tolist() == accepted
    assert counts.accepted_KJ[:, 0].sum() > 0


def test_tokens_a_pass_by_hand():
    """Acceptance .5 and .25 give 1 + .5 + .5 x .25; a depth never checked gives none."""
    counts = DraftCounts(
        np.array([[8, 4, 0]]), np.array([[4, 1, 0]]), np.array([0]), np.array([0])
    )
    found = {
        (s.metric, s.slice): (s.value, s.count) for s in _scores("test", "free", counts)
    }
    assert found == {
        ("acceptance", "running=free,depth=1"): (0.5, 8),
        ("acceptance", "running=free,depth=2"): (0.25, 4),
        ("tokens_per_pass", "running=free"): (1.625, 8),
    }


def test_second_halves_leave_padding_out():
    example_RT = np.array([[1, 1, 1, 1, 1, 0], [1, 1, 2, 2, 0, 0]])
    rows = Rows(example_RT, example_RT, np.zeros((2, 6), bool))
    expected = [[0, 0, 0, 1, 1, 0], [0, 0, 1, 1, 0, 0]]
    assert with_second_halves(rows).answer_RT.astype(int).tolist() == expected


def test_the_probe_says_what_a_run_accepts(capsys, run_folder, next_token_folder):
    """Rows of every step in the run's folder; next-token prediction has one a pass."""
    arguments = ["speculation", str(run_folder), "--examples", "20", "--every-step"]
    assert main(["probe", *arguments, "--json", "--save"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (run_folder / "probe-speculation.jsonl").read_text().splitlines() == lines
    rows = [from_line(line) for line in lines]
    assert {row.step for row in rows} == {0, 3, 6}
    free = {
        row.slice: row for row in rows if row.step == 6 and row.metric == "acceptance"
    }
    assert "running=free,depth=1" in free
    assert all(0 <= row.value <= 1 for row in free.values())

    assert main(["probe", "speculation", str(next_token_folder), "--json"]) == 0
    shown = capsys.readouterr()
    assert "n1 drafts nothing" in shown.err
    assert [json.loads(line)["value"] for line in shown.out.splitlines()] == [1.0, 1.0]
