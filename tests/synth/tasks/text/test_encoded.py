"""Corpora on disk, and names in their prose."""

import dataclasses
import json
from collections import Counter

import numpy as np
import pytest

from synth.tasks.text.corpus_files import corpus_digest
from synth.tasks.text.detection import NameWords, rename
from synth.tasks.text.encoded import (
    CorpusText,
    cleaned_documents,
    encoded_corpus,
    sampled_texts,
)


def source_at(path):
    return CorpusText(str(path), corpus_digest(path))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, texts):
    """Ninety documents of three stories each; one of them twice."""
    path = tmp_path_factory.mktemp("corpus") / "tales.jsonl"
    rows = [
        {
            "title": f"Tale {'abcdefghij'[i % 10] * (i // 10 + 1)}",
            "text": "\n\n".join(texts[3 * i : 3 * i + 3]),
        }
        for i in range(90)
    ]
    rows.append({"title": "Told again", "text": rows[0]["text"]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return source_at(path)


def test_every_token_comes_back(corpus, tokenizer):
    found = encoded_corpus(corpus, tokenizer, chunked=True)
    by_split = {split: [] for split in found.splits}
    for split, text in cleaned_documents(corpus, chunked=True):
        by_split[split].append(text)
    for split, encoded in found.splits.items():
        assert len(encoded) == len(by_split[split])
        for d, text in enumerate(by_split[split]):
            *tokens, end = encoded.document(d).tolist()
            assert end == tokenizer.end
            assert tokenizer.decode(tokens) == text
    assert isinstance(found.splits["train"].tokens_S, np.memmap)


def test_no_leakage_and_no_duplicates(corpus, tokenizer):
    found = encoded_corpus(corpus, tokenizer, chunked=True)
    assert found.report["leakage"]["duplicates"] == 0
    assert found.report["leakage"]["shared"] < 0.02
    pieces = [text for _, text in cleaned_documents(corpus, chunked=True)]
    assert len(set(pieces)) == len(pieces)


def test_documents_that_differ_in_a_digit_or_a_sign_are_all_kept(tmp_path):
    path = tmp_path / "sums.jsonl"
    texts = [f"{i} + 1" for i in range(200)] + [f"{i} - 1" for i in range(200)]
    rows = [{"text": text} for text in [*texts, texts[0], "", "  7 + 1\n"]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    left_out = Counter()
    found = [text for _, text in cleaned_documents(source_at(path), True, left_out)]
    assert found == texts
    assert left_out == {"duplicates": 2}


def test_what_is_left_out_is_counted(tmp_path, tokenizer):
    path = tmp_path / "a.jsonl"
    notice = "This is from Project Gutenberg. " * 30
    rows = ["A tale.", "A tale.", notice, "Produced by nobody", "Two tales."]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    report = encoded_corpus(source_at(path), tokenizer, chunked=True).report
    assert report["left_out"] == {"duplicates": 1, "notices": 1, "empty": 1}
    path.write_text(json.dumps({"text": notice}))
    with pytest.raises(
        ValueError, match=r"holds no text once it is cleaned.*'notices': 1"
    ):
        encoded_corpus(source_at(path), tokenizer, chunked=True)


def test_the_rule_and_the_field_name_another_entry(corpus, tokenizer):
    cases = [
        corpus,
        *(dataclasses.replace(corpus, **{name: "title"}) for name in ("field", "rule")),
    ]
    sizes = [len(encoded_corpus(c, tokenizer, True).splits["train"]) for c in cases]
    assert sizes[0] == sizes[2] != sizes[1]


def test_counts(corpus, tokenizer):
    found = encoded_corpus(corpus, tokenizer, chunked=True)
    train = found.splits["train"]
    assert train.counts(len(tokenizer)).sum() == len(train.tokens_S)
    assert train.counts(len(tokenizer))[tokenizer.end] == len(train)


def test_encoded_once(corpus, tokenizer, monkeypatch):
    encoded_corpus(corpus, tokenizer, chunked=True)

    def never(*_):
        raise AssertionError("encoded again")

    monkeypatch.setattr("synth.tasks.text.encoded._encode", never)
    moved = dataclasses.replace(corpus, place="/nowhere.jsonl")
    encoded_corpus(moved, tokenizer, chunked=True)
    with pytest.raises(AssertionError, match="encoded again"):
        encoded_corpus(corpus, tokenizer, chunked=False)


def test_only_training_text_trains_the_tokeniser(corpus):
    train = {
        text for split, text in cleaned_documents(corpus, False) if split == "train"
    }
    sampled = list(sampled_texts([corpus]))
    assert sampled
    assert set(sampled) <= train
    assert sum(map(len, sampled_texts([corpus], most=5000))) <= 5000


def test_a_single_document_is_split_by_pieces(tmp_path, texts):
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(texts[:300]))
    found = [split for split, _ in cleaned_documents(source_at(path), chunked=True)]
    assert set(found) == {"train", "validation", "test"}
    assert found.count("train") > 0.8 * len(found)


def test_an_empty_corpus_is_refused(tmp_path, tokenizer):
    path = tmp_path / "a.txt"
    path.write_text("\n \n")
    with pytest.raises(ValueError, match="holds no text"):
        encoded_corpus(source_at(path), tokenizer, chunked=True)


PROSE = (
    'When Heidi went up, old Peter came with Heidi\'s goats. "Heidi!" cried Peter.\n\n'
    "Heidi laughed, and Peter said that Heidi was late. In the village, Clara waited."
)


def test_names_are_found_by_rule():
    words = NameWords.of([PROSE, "The village of old was late; went up and came."])
    assert {"Heidi", "Peter", "Clara"} <= words.words
    found = words.in_text(PROSE)
    assert set(found) == {"Heidi", "Peter"}  # Clara has one mention
    assert len(found["Heidi"]) == 3  # not after the quote, nor after the blank line
    assert all(PROSE[at - 1] == " " for starts in found.values() for at in starts)


def test_renamed_prose_encodes_like_its_text(tokenizer, pairs):
    words = NameWords.of([PROSE])
    mentions = words.in_text(PROSE)
    tokens, marks = rename(PROSE, mentions, pairs.tokens_P2[:2], tokenizer)
    *body, end = tokens
    assert end == tokenizer.end
    text = tokenizer.decode(body)
    assert tokenizer.encode(text) == body
    for place, name in enumerate(mentions):
        new = pairs.text[place]
        assert text.count(f" {new}") == len(mentions[name])
        assert [
            t for t, m in zip(tokens, marks, strict=True) if m == 2 * place + 1
        ] == [pairs.tokens_P2[place, 0]] * len(mentions[name])
    assert '"Heidi!"' in text  # without a space before it, and so left alone
