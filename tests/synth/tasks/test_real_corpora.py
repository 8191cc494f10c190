"""Real tales and novels, where there are any; none of their text is in the project.

    SYNTH_CORPORA=/path/to/corpora python -m pytest tests/synth/tasks/test_real_corpora.py

The folder (by default ../shared/corpora beside the project) holds stories.jsonl.xz and
books.jsonl.xz, with a title and a text a line. A path that is named must be there;
without one these tests are skipped, and say so.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from synth.__main__ import main
from synth.tasks.stories import StoriesConfig
from synth.tasks.text.corpus import read_documents
from synth.tasks.text.vocabularies import TokenizerConfig
from tests.synth.tasks.test_stories import answers, by_name

BESIDE = Path(__file__).resolve().parents[4] / "shared" / "corpora"


def real(name):
    """The path of a corpus; skips loudly, but not where a folder was asked for."""
    given = os.environ.get("SYNTH_CORPORA")
    path = Path(given) / name if given else BESIDE / name
    if given:
        assert path.exists(), f"SYNTH_CORPORA is set, but {path} does not exist"
    if not path.exists():
        pytest.skip(
            f"NO REAL CORPUS at {path}: real prose is not tested here. Set "
            "SYNTH_CORPORA to a folder with stories.jsonl.xz and books.jsonl.xz."
        )
    return path


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """The first documents of both corpora, cut short, outside the project."""
    folder = tmp_path_factory.mktemp("few")
    for name, documents, most in (("stories", 150, 6000), ("books", 26, 60_000)):
        found = read_documents(real(f"{name}.jsonl.xz"))
        rows = [
            {"title": document.title, "text": document.text[:most]}
            for document, _ in zip(found, range(documents), strict=False)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)
    return folder


def test_the_mixture_of_real_books_by_command_line(few, tmp_path, capsys):
    """Nine to one: trained, with exact shares, and nothing of the tests in it."""
    mixed = (
        f"stories --corpus {few / 'stories.jsonl'} --books {few / 'books.jsonl'} "
        "--books-parts 9 --vocab-size 2048"
    ).split()
    assert main(["sample", *mixed, "--report", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["stories"]["share"], report["books"]["share"]) == (0.1, 0.9)
    for side in ("stories", "books"):
        leaked = report[side]["leakage"]
        assert (leaked["duplicates"], leaked["shared"] < 0.01) == (0, True)
    assert report["books"]["leakage_of_test_stories"]["shared"] < 0.01
    assert report["stories"]["leakage"]["documents"] > 0
    short = (
        "--scale d16-L2-h2 --horizon 1 --batch-rows 2 --context 64 --steps 4 "
        "--warmup-steps 1 --learning-rate 1e-3 --evaluate-every-steps 4 "
        f"--evaluation-examples 8 --final-examples 8 --json --runs {tmp_path}"
    ).split()
    assert main(["train", *mixed, *short]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "done"
    (folder,) = tmp_path.glob("stories-*")
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    suites = {row["suite"] for row in rows}
    assert {"train", "test", "validation", "plain"} <= suites


def test_windows_of_real_books_are_nine_in_ten(few):
    config = StoriesConfig(
        corpus=str(few / "stories.jsonl"), books=str(few / "books.jsonl"), books_parts=9
    )
    task = config.build()
    rows = task.train_rows(0, 0, 128)
    alone = task._text.stories_source.windows(0, 0, len(rows) // 10, 128)
    stories = {row.tobytes() for row in alone.tokens_RT.astype(np.int64)}
    is_story = [row.tobytes() in stories for row in rows.tokens_RT.astype(np.int64)]
    groups = np.array(is_story).reshape(-1, 10)
    assert (groups.sum(axis=1) == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("size", [2048, 4096])
def test_real_tales(size):
    path = real("stories.jsonl.xz")
    config = StoriesConfig(corpus=str(path), tokenizer=TokenizerConfig(vocab_size=size))
    task = config.build()
    report = task.report()["stories"]
    assert report["leakage"]["duplicates"] == 0
    assert report["leakage"]["shared"] < 0.01
    for sample in task.samples(0, 150):
        *body, _ = sample.record["tokens"]
        assert task.tokenizer.encode(sample.record["text"]) == body
    chosen = {s.suite: s for s in task.evaluation_sets(100)}["validation"]
    found = by_name(task.score(chosen, answers(chosen, chosen.rows.answer_RT)))
    assert found["second_token_oracle", ""].value > 0.97
