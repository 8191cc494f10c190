"""`--tokenizer FILE`, also of kinds that cannot restore a text: WordPiece, Unigram."""

import pytest
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

import synth
from synth.__main__ import main
from tests.conftest import TWO_STEPS

TEXT = "The Fox ran to the café, and the fox sat. A bird saw both of them.\n" * 100


def word_pieces():
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=60, special_tokens=["[PAD]", "[UNK]", "[SEP]"], show_progress=False
    )
    return made, trainer


def unigram():
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    return made, trainer


@pytest.fixture(params=[word_pieces, unigram], ids=["WordPiece", "Unigram"])
def files(request, tmp_path):
    """A corpus, and a tokenizer.json that was trained on it."""
    corpus, tokenizer = tmp_path / "tale.txt", tmp_path / "tokenizer.json"
    corpus.write_text(TEXT)
    made, trainer = request.param()
    made.train_from_iterator([TEXT], trainer)
    made.save(str(tokenizer))
    return corpus, tokenizer


def test_a_text_trains_on_any_tokenizer_and_its_run_travels(files, tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    corpus, tokenizer = map(str, files)
    runs, copy = str(tmp_path / "runs"), tmp_path / "copy"
    text = ["text", "--corpus", corpus, "--tokenizer", tokenizer]
    assert main(["train", *text, *TWO_STEPS, "--runs", runs]) == 0
    assert main(["sample", *text, "--count", "1"]) == 0
    for path in files:  # its folder holds the tokeniser
        path.rename(f"{path}.moved")
    run = synth.load("text-*", runs=runs)
    assert run.config.task.tokenizer.tokens == "file"
    words = ["text-*", "--runs", runs]
    assert main(["generate", *words, "--prompt", "The bird", "--most", "5"]) == 0
    assert main(["export", *words, str(copy)]) == 0
    theirs = transformers.AutoTokenizer.from_pretrained(copy)
    ids = run.tokenizer.encode("the fox saw a bird")
    assert theirs("the fox saw a bird")["input_ids"] == ids
    assert run.text(ids) == "the fox saw a bird"

    (tmp_path / "other").mkdir()
    moved = [tmp_path / "other" / path.name for path in files]
    for path, now in zip(files, moved, strict=True):
        now.write_bytes(path.with_name(f"{path.name}.moved").read_bytes())
    there = ["--corpus", str(moved[0]), "--tokenizer", str(moved[1])]
    capsys.readouterr()
    assert main(["evaluate", *words, "--examples", "4", *there]) == 0
    assert "accuracy" in capsys.readouterr().out


def test_stories_need_names_of_two_tokens(files, tmp_path, capsys):
    runs = tmp_path / "runs"
    words = ["train", "stories", "--tokenizer", str(files[1]), *TWO_STEPS]
    assert main([*words, "--runs", str(runs)]) == 2
    assert "Use byte-level BPE" in (said := capsys.readouterr().err)
    assert said.count("\n") == 1
    assert not runs.exists()
