import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.tasks.text.tokenizer import (
    END_OF_TEXT,
    BytePairs,
    Characters,
    library_errors,
    read_tokenizer,
    train_byte_pairs,
)

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


@settings(max_examples=200)
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
    with pytest.raises(ValueError, match="use characters, or more text"):
        train_byte_pairs(["a small text"], 2048)  # 300 tokens are the least
    words = [" ".join(f"{a}{b}" for a in "abcdefghij" for b in "klmnopqrst")]
    with pytest.raises(ValueError, match=r"use vocab_size 3\d\d or less"):
        train_byte_pairs(words, 2048)
    with pytest.raises(ValueError, match="at least 300"):
        train_byte_pairs(["a"], 100)


def test_tokens_of_other_kinds_are_shown_as_they_are_written():
    """Only byte-level BPE writes bytes as letters: é in its tokens is a byte."""
    words = {"type": "WordPiece", "unk_token": "[UNK]", "max_input_chars_per_word": 99}
    words |= {"continuing_subword_prefix": "##"}
    words |= {"vocab": {"[UNK]": 0, "[SEP]": 1, "été": 2, "##s": 3}}
    decoder = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    made = BytePairs(json.dumps({"model": words, "decoder": decoder}))
    assert made.vocabulary == ("[UNK]", "[SEP]", "été", "##s")
    assert made.encode("étés") == [2, 3]


def test_characters():
    made = Characters("hello\nworld")
    assert len(made) == 2 + len(set("hello\nworld"))
    assert made.decode(made.encode("hello world".replace(" ", "\n"))) == "hello\nworld"
    assert made == Characters("dlrow\nolleh")
    assert made != Characters("abc")
    with pytest.raises(ValueError, match="'x' is not in the alphabet of 8"):
        made.encode("x")


def changed(tokenizer, change):
    """The tokeniser whose stored form `change` has altered."""
    stored = json.loads(tokenizer.stored)
    change(stored)
    return BytePairs(json.dumps(stored))


def cut_otherwise(stored):
    stored["pre_tokenizer"]["use_regex"] = False


@pytest.mark.parametrize("fast", [True, False])
def test_truncation_and_padding_of_the_file_are_switched_off(tokenizer, fast):
    import tokenizers

    stored = json.loads(tokenizer.stored)
    if not fast:
        cut_otherwise(stored)
    whole = tokenizers.Tokenizer.from_str(json.dumps(stored))
    plain = BytePairs(whole.to_str())
    whole.enable_truncation(max_length=4)
    whole.enable_padding(length=64)
    text = "Once upon a time there was a fox, and the fox ran."
    assert len(whole.encode(text).ids) == 64
    assert BytePairs(whole.to_str()).encode(text) == plain.encode(text)
    assert BytePairs(whole.to_str()).encode_slowly(text) == plain.encode_slowly(text)


def with_gaps(stored):
    """Later ids are a thousand higher, as those of added tokens often are."""
    moved = {k: i if i < 400 else i + 1000 for k, i in stored["model"]["vocab"].items()}
    stored["model"]["vocab"] = moved


@pytest.mark.parametrize("slow", [False, True])
def test_ids_may_have_gaps(tokenizer, texts, slow):
    found = changed(
        tokenizer, lambda s: (with_gaps(s), cut_otherwise(s) if slow else None)
    )
    assert (found._fast is None) == slow
    assert len(found) == len(tokenizer) + 1000
    for text in texts[:20]:
        tokens = found.encode(text)
        assert max(tokens) >= 400
        assert tokens == found.encode_slowly(text)
        assert found.decode(tokens) == text
        assert "".join(found.vocabulary[token] for token in tokens) == text


def test_an_id_that_no_vocabulary_reaches_is_refused(tokenizer):
    with pytest.raises(ValueError, match="token of id 4000000; ids up to 1048575"):
        changed(tokenizer, lambda s: s["model"]["vocab"].update({"zzz": 4_000_000}))


def swap_ids(stored):
    vocab = stored["model"]["vocab"]
    one, two = (t for t, i in vocab.items() if i in (300, 1500))
    vocab[one], vocab[two] = vocab[two], vocab[one]


def drop_a_byte(stored):
    vocab = stored["model"]["vocab"]
    vocab.pop("\u0104")  # the byte of the character \x04
    stored["model"]["vocab"] = {
        t: i for i, t in enumerate(sorted(vocab, key=vocab.get))
    }
    for token in stored["added_tokens"]:
        token["id"] = stored["model"]["vocab"][token["content"]]


def add_a_word(stored):
    word = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    word |= {"id": 2048, "content": "fox", "special": False}
    stored["added_tokens"].append(word)


@pytest.mark.parametrize(
    "change",
    [
        swap_ids,
        drop_a_byte,
        add_a_word,
        lambda s: s["model"].update(dropout=0.5),
        lambda s: s["model"].update(merges=s["model"]["merges"][:-1]),
    ],
)
def test_the_fast_encoder_is_used_only_where_it_must_agree(tokenizer, change):
    assert changed(tokenizer, change)._fast is None


def test_bytes_without_a_token_are_refused_not_lost(tokenizer):
    found = changed(tokenizer, drop_a_byte)
    assert found.decode(found.encode("The fox ran.")) == "The fox ran."
    with pytest.raises(ValueError, match=r"begins 'The\\x04.* bytes b'\\x04'"):
        found.encode("The\x04fox")


def test_special_tokens_in_a_text_are_words(tokenizer):
    found = changed(tokenizer, cut_otherwise)
    assert found.end not in found.encode(f"a{END_OF_TEXT}b")
    assert found.decode(found.encode(f"a{END_OF_TEXT}b")) == f"a{END_OF_TEXT}b"


@pytest.mark.parametrize("gap", [" ", "\n", " \n"])
def test_a_million_spaces(tokenizer, gap):
    text = "word" + gap * (1_100_000 // len(gap)) + "end"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_what_a_library_raises_is_told_as_a_value_error():
    class PanicException(BaseException):
        """As Rust's libraries have it."""

    for error in (PanicException("StackOverflow"), Exception("vocab")):
        with (
            pytest.raises(ValueError, match=f"No luck: {error}"),
            library_errors("No luck"),
        ):
            raise error
    for error in (KeyboardInterrupt(), MemoryError(), KeyError("x")):
        with pytest.raises(type(error)), library_errors("No luck"):
            raise error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"tokenizer_class": "GPT2Tokenizer"}', "This is a tokenizer_config.json"),
        ('{"the": 0, "a": 1}', "This is a vocab.json, which lacks the merges"),
        ('{"eos_token": "</s>"}', "This is a special_tokens_map.json"),
        (
            '{"architectures": ["GPT2LMHeadModel"]}',
            "This is the config.json of a model",
        ),
        ("#version: 0.2\nt h\n", r"merges\.txt or vocab\.txt"),
        ("[1]", "This is a JSON list"),
        ("[" * 100_000, "not JSON"),
        ('{"model": {"type": "BPE"}}', "JSON without a model and its vocabulary"),
        ('{"model": {"type": "BPE", "vocab": 5}}', "The tokeniser cannot be read"),
        (b"\x0a\xff\x00", "is binary.* SentencePiece"),
    ],
)
def test_other_files_of_a_model_are_recognised(tmp_path, content, message):
    path = tmp_path / "given.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"given\.json.*{message}"):
        read_tokenizer(path)


def test_a_tokenizer_file_may_begin_with_a_byte_order_mark(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(b"\xef\xbb\xbf" + tokenizer.stored.encode())
    assert read_tokenizer(path) == tokenizer


def test_real_files_with_older_merges_are_encoded_fast(tokenizer):
    def as_strings(stored):
        stored["model"]["merges"] = [" ".join(m) for m in stored["model"]["merges"]]

    pytest.importorskip("tiktoken")
    assert changed(tokenizer, as_strings)._fast is not None
