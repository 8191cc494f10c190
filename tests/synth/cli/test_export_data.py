"""Data that travels: what other tools read is what the trainer here would have drawn."""

import itertools
import json
import subprocess

import polars as pl
import pyarrow.parquet as pq
import pytest

from synth.__main__ import main
from synth.cli.export_data import _write_parquet
from synth.families.family import member
from synth.tasks.export import BATCH_ROWS, batches
from synth.tasks.polynomial import PolynomialConfig

SMALL = {"modulus": 3, "degree": 2, "max_operations": 2, "max_evaluated": 3}
RING = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]


def export(folder, *words, kind="polynomial", status=0):
    ring = RING if kind == "polynomial" else []
    few = ["--count", "300", "--test-examples", "5", "--folder", str(folder)]
    assert main(["export-data", kind, *ring, *few, *words]) == status


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "ring"
    export(folder)
    return folder


def alone(rows):
    """Each example of packed rows, tokens and answer marks, written out."""
    for tokens, number, answer in zip(
        rows.tokens_RT, rows.example_RT, rows.answer_RT, strict=True
    ):
        for one in range(1, number.max() + 1):
            yield tokens[number == one].tolist(), answer[number == one].tolist()


def test_training_examples_are_those_of_the_trainer(written):
    task = PolynomialConfig(**SMALL).build().judged_on("validation")
    stream = itertools.chain.from_iterable(
        alone(task.train_rows(0, block, 1024)) for block in itertools.count()
    )
    expected = list(itertools.islice(stream, 300))
    read = pl.read_parquet(written / "train.parquet")
    assert (
        list(
            zip(
                *read["tokens", "answers"].to_dict(as_series=False).values(),
                strict=True,
            )
        )
        == expected
    )
    words = [task.vocabulary[token] for token in expected[0][0]]
    assert read["text"][0] == " ".join(words)


def test_polars_reads_all_splits_at_once_and_no_problem_is_in_two(written):
    read = pl.read_parquet(written / "*.parquet")
    splits = read.select("text", "split").unique()
    assert set(splits["split"]) == {"train", "validation", "test"}
    assert splits["text"].is_unique().all()
    test = read.filter(split="test")
    assert set(test["suite"]) == {"in_domain", "out_of_domain"}
    assert {len(tokens) for tokens in read["tokens"]} != {len(read["tokens"][0])}
    operations = test["labels"].str.json_path_match("$.operations").cast(int)
    drawn = [sum(map(text.partition("=")[0].count, "+-*o∘@")) for text in test["text"]]
    assert operations.to_list() == drawn


def test_datasets_loads_all_splits(written, tmp_path):
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(written), cache_dir=str(tmp_path))
    assert {name: len(part) for name, part in loaded.items()} == {
        name: len(pl.read_parquet(written / f"{name}.parquet"))
        for name in ("train", "validation", "test")
    }
    (first,) = pl.read_parquet(written / "train.parquet").head(1).to_dicts()
    assert loaded["train"][0] == first


def test_json_lines_hold_the_same(written, tmp_path):
    export(tmp_path / "lines", "--to", "jsonl", "--split", "train", "test")
    names = {path.name for path in (tmp_path / "lines").iterdir()}
    assert names == {"train.jsonl", "test.jsonl", "README.md", "vocabulary.json"}
    for split in ("train", "test"):
        lines = (tmp_path / "lines" / f"{split}.jsonl").read_text().splitlines()
        read = pl.read_parquet(written / f"{split}.parquet").to_dicts()
        assert [json.loads(line) for line in lines] == read


def test_the_card_names_the_task_the_seed_and_the_digests(written):
    card = (written / "README.md").read_text()
    (settings,) = (
        json.loads(block.partition("```")[0]) for block in card.split("```json\n")[1:]
    )
    task = member("task", settings, "card")
    assert task == PolynomialConfig(**SMALL)
    assert "data seed 0" in card
    sums = card.rpartition("```\n")[0].rpartition("```\n")[2]
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict"],
        input=sums,
        cwd=written,
        text=True,
        capture_output=True,
    )
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count(": OK") == 4


def test_a_folder_with_something_in_it_stays_as_it_is(tmp_path, capsys):
    (tmp_path / "mine").write_text("mine")
    export(tmp_path, status=2)
    assert "--folder must be new or empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("context", ["0", "-5", "1", str(1 << 27)])
def test_an_impossible_context_is_refused_by_name(context, tmp_path, capsys):
    export(tmp_path / "new", "--context", context, kind="repeats", status=2)
    assert f"--context must be from 2 to 67108864; got {context}" in (
        capsys.readouterr().err
    )


def test_an_export_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("synth.cli.export_data._sha256", full)
    export(tmp_path / "data", status=2)
    assert list(tmp_path.iterdir()) == []


def test_a_long_export_is_drawn_in_pieces():
    """So a million examples take no more memory than some thousands."""
    task = PolynomialConfig(**SMALL).build()
    pieces = batches(task, "train", 10**9, 0, 64)
    sizes = [len(piece) for piece in itertools.islice(pieces, 3)]
    assert 0 < max(sizes) <= 4 * BATCH_ROWS


def test_examples_are_written_in_groups_of_some_size(tmp_path, monkeypatch):
    """Neither all at the end nor a few at a time."""
    monkeypatch.setattr("synth.cli.export_data.GROUP_ROWS", 6)
    task = PolynomialConfig(**SMALL).build()
    first = next(batches(task, "train", 3, 0, 64))
    path = tmp_path / "train.parquet"
    assert _write_parquet(path, iter([first] * 5)) == 15
    file = pq.ParquetFile(path)
    groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert groups == [6, 6, 3]
    assert pl.read_parquet(path)["text"].to_list() == 5 * first["text"].to_pylist()


def test_roles_are_those_that_scores_go_by():
    task = member("task", {"kind": "choice-points"}, "here").build()
    (chosen,) = task.evaluation_sets(20)
    (piece,) = batches(task, "test", 20, 0, 64)
    numbers_RT = task.role(chosen, 1)[:, :-1]
    assert (numbers_RT >= 0).any()
    names = [*task.roles, None]
    for read, number_T in zip(piece["roles"].to_pylist(), numbers_RT, strict=True):
        assert read == [None, *(names[number] for number in number_T)]


def test_running_text_is_text_and_has_no_roles(tmp_path):
    corpus = tmp_path / "input.txt"
    lines = [f"line {i * 7919 % 1000}: so Marlo said to Petra" for i in range(400)]
    corpus.write_text("\n".join(lines))
    task = member("task", {"kind": "text", "corpus": str(corpus)}, "here").build()
    for split in ("train", "validation", "test"):
        piece = next(batches(task, split, 3, 0, 128))
        for row in piece.to_pylist():
            assert row["text"] == task.tokenizer.decode(row["tokens"])
            assert row["text"].replace("\n", "") in corpus.read_text().replace("\n", "")
            assert row["roles"] is None
