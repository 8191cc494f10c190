"""A user's plain text, by characters and by BPE."""

import hashlib
import json

import numpy as np
import pytest

from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.run.execution import Execution
from synth.tasks.running_text import TextConfig
from synth.tasks.task import TokenScores
from synth.tasks.text.vocabularies import TokenizerConfig
from synth.training import train


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    """A text of 60,000 characters in which every letter follows from the one before."""
    path = tmp_path_factory.mktemp("text") / "play.txt"
    rng = np.random.default_rng(0)
    lines = [
        f"Act {i}: " + " ".join(rng.choice(["to", "be", "or", "not"], 9))
        for i in range(1500)
    ]
    path.write_text("\n".join(lines))
    return path


def test_the_text_is_cut_into_nine_tenths_and_one(play):
    task = TextConfig(corpus=str(play)).build()
    train_part, test = task._parts
    text = play.read_text()
    assert task.tokenizer.decode(train_part.tokens_S) == text[: len(text) * 9 // 10]
    assert task.tokenizer.decode(test.tokens_S) == text[len(text) * 9 // 10 :]
    assert len(task.vocabulary) == 2 + len(set(text))


def test_rows_are_windows_of_the_training_part(play):
    task = TextConfig(corpus=str(play)).build()
    text = play.read_text()[: len(play.read_text()) * 9 // 10]
    rows = task.train_rows(0, 0, 64)
    assert not rows.answer_RT.any()
    assert (rows.example_RT == 1).all()
    for tokens in rows.tokens_RT[::97]:
        assert task.tokenizer.decode(tokens) in text
    again = TextConfig(corpus=str(play)).build().train_rows(0, 0, 64)
    assert (again.tokens_RT == rows.tokens_RT).all()


def test_tests_are_fixed_windows_of_the_rest(play):
    task = TextConfig(corpus=str(play)).build()
    (few,), (more,) = task.evaluation_sets(5), task.evaluation_sets(9)
    held = play.read_text()[len(play.read_text()) * 9 // 10 :]
    assert few.rows.tokens_RT.shape == (5, 65)
    assert (more.rows.tokens_RT[:5] == few.rows.tokens_RT).all()
    assert all(task.tokenizer.decode(row) in held for row in more.rows.tokens_RT)


def test_scores(play):
    task = TextConfig(corpus=str(play)).build()
    (chosen,) = task.evaluation_sets(4)
    shape = (2, *chosen.rows.tokens_RT.shape)
    valid = np.ones(shape, bool)
    valid[0, :, -1:] = valid[1, :, -2:] = False
    scores = task.score(chosen, TokenScores(np.full(shape, 2.0), valid.copy(), valid))
    found = {(s.metric, s.slice): (s.value, s.count) for s in scores}
    assert found["loss", "horizon=1"] == (2.0, 4 * 64)
    assert found["accuracy", "horizon=2"] == (1.0, 4 * 63)


def test_documents_can_be_held_out(tmp_path):
    path = tmp_path / "tales.txt"
    tales = [f"Tale {'ab' * i} is told in a few words." for i in range(1, 120)]
    path.write_text("\n<|endoftext|>\n".join(tales))
    bpe = TokenizerConfig(vocab_size=300)
    task = TextConfig(corpus=str(path), tokenizer=bpe, hold_out="documents").build()
    kept, held = task._parts
    assert len(kept) + len(held) < len(tales)  # some are for validation
    assert len(held) > 0
    rows = task.train_rows(0, 0, 32)
    assert rows.example_RT.max() > 1


def test_the_content_is_the_identity(play, tmp_path):
    config = TextConfig(corpus=str(play))
    assert config.corpus_digest == hashlib.sha256(play.read_bytes()).hexdigest()
    copy = tmp_path / "copy.txt"
    copy.write_bytes(play.read_bytes())
    same = TextConfig(corpus=str(copy))
    assert RunConfig(task=same).run_id == RunConfig(task=config).run_id


def test_no_text_and_short_texts_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"TextConfig.corpus is empty"):
        TextConfig()
    path = tmp_path / "a.txt"
    path.write_text("Too short.")
    with pytest.raises(ValueError, match="Use a longer text"):
        TextConfig(corpus=str(path)).build().evaluation_sets(3)


def write_rows(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def test_a_vocabulary_size_that_nothing_reads_is_refused(play):
    size = TokenizerConfig(tokens="characters", vocab_size=4096)
    with pytest.raises(ValueError, match="vocab_size must be left at 2048 with tokens"):
        TextConfig(corpus=str(play), tokenizer=size)
    digest = TextConfig(corpus=str(play)).corpus_digest
    TextConfig(corpus=str(play), corpus_digest=digest, tokenizer=size)  # a stored run


@pytest.mark.parametrize("hold_out", ["tail", "documents"])
def test_every_character_of_the_text_is_in_the_alphabet(tmp_path, hold_out):
    """Line ends as they are in rows; signs that cleaning puts in place of others."""
    texts = [f"Row {i}\u2026\r\n\u201cwell\u201d\rno" for i in range(200)]
    path = write_rows(tmp_path / "a.jsonl", texts)
    for _ in range(2):  # made, and read from the cache
        task = TextConfig(corpus=path, hold_out=hold_out).build()
        kept, held = task._parts
        assert len(kept.tokens_S) > 5 * len(held.tokens_S) > 0
        assert ("\r" in task.vocabulary) == (hold_out == "tail")
        assert ("." in task.vocabulary) == (hold_out == "documents")


@pytest.mark.parametrize("texts", [["One long document. " * 500], ["One.", "Two."]])
def test_too_few_documents_to_hold_some_out(tmp_path, texts):
    path = write_rows(tmp_path / "a.jsonl", texts)
    task = TextConfig(corpus=path, hold_out="documents").build()
    with pytest.raises(ValueError, match=r"too few documents.* Set hold_out to 'tail'"):
        task.evaluation_sets(3)


def test_a_document_that_cannot_be_encoded_is_named(tmp_path, play):
    from synth.tasks.text.tokenizer import train_byte_pairs

    stored = json.loads(train_byte_pairs([play.read_text()], 300).stored)
    vocab = stored["model"]["vocab"]
    vocab.pop("Z")
    stored["model"]["vocab"] = {
        t: i for i, t in enumerate(sorted(vocab, key=vocab.get))
    }
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(stored))
    path = write_rows(tmp_path / "a.jsonl", ["abc", "aZb"])
    chosen = TokenizerConfig(tokens="file", tokenizer_file=str(file))
    task = TextConfig(corpus=path, tokenizer=chosen).build()
    with pytest.raises(ValueError, match=r"a\.jsonl, document 2: .*begins 'aZb'.*b'Z'"):
        task.evaluation_sets(3)


@pytest.mark.parametrize("content", ["", " \n\n"])
@pytest.mark.parametrize("hold_out", ["tail", "documents"])
def test_an_empty_text_is_refused(tmp_path, content, hold_out):
    path = tmp_path / "a.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"a\.txt' holds no text"):
        TextConfig(corpus=str(path), hold_out=hold_out).build()


def test_training_learns_the_text(play, tmp_path):
    config = RunConfig(
        task=TextConfig(corpus=str(play)),
        model=ModelConfig(scale="d32-L2-h2"),
        training=TrainingConfig(
            steps=60,
            batch_rows=12,
            context=64,
            learning_rate=1e-2,
            warmup_steps=5,
            evaluate_every_steps=30,
            evaluation_examples=20,
            final_examples=20,
        ),
    )
    (outcome,) = train([config], tmp_path, Execution())
    assert outcome.state == "done", outcome.message
    import polars as pl

    rows = pl.read_ndjson(tmp_path / config.run_id / "metrics.jsonl")
    loss = rows.filter(pl.col("suite") == "test", pl.col("metric") == "loss")["value"]
    assert loss[0] > 2.5
    assert loss[-1] < 1.2
