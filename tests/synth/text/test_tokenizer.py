import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.text.tokenizer import END_OF_TEXT, BytePairs, Characters, train_byte_pairs

AWKWARD = [
    "",
    " ",
    "\n\n",
    "It's 1,234.5 -- \"quoted\", isn't it?\n\nNew  paragraph.  ",
    "emoji \U0001f40e and caf\u00e9, \u4f60\u597d\tTab\r\n",
    "we'll they've I'd 'SHOUTED'S' x'll",
    "   leading and trailing   ",
    END_OF_TEXT,
    "a" * 500,
]


@pytest.mark.parametrize("text", AWKWARD)
def test_fast_and_slow_encoders_agree(tokenizer, text):
    pytest.importorskip("tiktoken")
    assert tokenizer._fast is not None
    if END_OF_TEXT not in text:
        assert tokenizer.encode(text) == tokenizer.encode_slowly(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.end not in tokenizer.encode(text)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=60))
def test_fast_and_slow_encoders_agree_on_anything(tokenizer, text):
    pytest.importorskip("tiktoken")
    assert tokenizer.encode(text) == tokenizer.encode_slowly(text)


def test_fast_and_slow_encoders_agree_on_stories(tokenizer, texts):
    pytest.importorskip("tiktoken")
    for text in texts[:200]:
        assert tokenizer.encode(text) == tokenizer.encode_slowly(text)


def test_training_is_deterministic(texts, tokenizer):
    again = train_byte_pairs(texts, 2048)
    assert again.stored == tokenizer.stored
    assert again == tokenizer
    assert len(tokenizer) == 2048
    assert tokenizer.vocabulary[0] == "<|pad|>"
    assert tokenizer.end == 1


def test_a_stored_file_gives_the_same_tokeniser(tokenizer, texts):
    read = BytePairs(tokenizer.stored)
    assert read.digest == tokenizer.digest
    assert read.encode(texts[0]) == tokenizer.encode(texts[0])


def test_another_pre_tokeniser_is_encoded_by_its_own_library(tokenizer):
    stored = json.loads(tokenizer.stored)
    stored["pre_tokenizer"]["use_regex"] = False
    other = BytePairs(json.dumps(stored))
    assert other._fast is None
    assert other.decode(other.encode("The fox ran.")) == "The fox ran."


def test_refuses_what_cannot_work(tokenizer):
    stored = json.loads(tokenizer.stored)
    stored["added_tokens"] = [
        t for t in stored["added_tokens"] if t["content"] != END_OF_TEXT
    ]
    stored["model"]["vocab"].pop(END_OF_TEXT)
    with pytest.raises(ValueError, match="no end-of-text token"):
        BytePairs(json.dumps(stored))
    with pytest.raises(ValueError, match="fills only"):
        train_byte_pairs(["a small text"], 2048)
    with pytest.raises(ValueError, match="at least 300"):
        train_byte_pairs(["a"], 100)


def test_wordpiece_is_refused():
    model = {"type": "WordPiece", "vocab": {}, "unk_token": "[UNK]"}
    with pytest.raises(ValueError, match="WordPiece"):
        BytePairs(json.dumps({"model": model}))


def test_characters():
    made = Characters("hello\nworld")
    assert len(made) == 2 + len(set("hello\nworld"))
    assert made.decode(made.encode("hello world".replace(" ", "\n"))) == "hello\nworld"
    assert made == Characters("dlrow\nolleh")
    assert made != Characters("abc")
    with pytest.raises(ValueError, match="'x' is not in the alphabet of 8"):
        made.encode("x")
