import pytest

from synth.tasks.text.cleaning import (
    chunks,
    clean,
    exact_digest,
    fingerprint,
    leakage,
    split_of,
)
from synth.tasks.text.corpus import Document


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            "\u201cHi,\u201d she said\u2014it\u2019s late\u2026",
            '"Hi," she said--it\'s late...',
        ),
        ("It\u00e2\u20ac\u2122s caf\u00c3\u00a9", "It's caf\u00e9"),
        (
            "An \u00c2ngstr\u00f6m \u00c2 is kept",
            "An \u00c2ngstr\u00f6m \u00c2 is kept",
        ),
        ("one\r\ntwo\r\n\r\n\r\nthree", "one\ntwo\n\nthree"),
        ("a <|endoftext|>b", "a b"),
        ("tabs\tand   spaces  \n next", "tabs and spaces\nnext"),
        ("Text.\n\nProduced by nobody\n\nMore.", "Text.\n\nMore."),
        ("A pretext is no notice.", "A pretext is no notice."),
        ("The Gutenberg bible\n\nstays out", "stays out"),
    ],
)
def test_clean(raw, expected):
    assert clean(raw) == expected


def test_cleaning_twice_changes_nothing():
    text = "\u201cOne\u201d\u2014two\r\n\r\nIt\u00e2\u20ac\u2122s."
    assert clean(clean(text)) == clean(text)


def paragraph(words, start=0):
    return " ".join(f"w{start + i}" for i in range(words))


def test_chunks_are_whole_paragraphs_of_the_right_size():
    text = "\n\n".join(paragraph(90, 100 * i) for i in range(20))
    found = list(chunks(text))
    assert all(200 <= len(chunk.split()) <= 400 for chunk in found)
    paragraphs = set(text.split("\n\n"))
    assert all(p in paragraphs for chunk in found for p in chunk.split("\n\n"))
    assert sum(len(chunk.split()) for chunk in found) >= 1800 - 200


def test_long_paragraphs_are_cut_at_sentences():
    text = " ".join(
        f"This is sentence number {i} of a very long paragraph." for i in range(200)
    )
    found = list(chunks(text))
    assert len(found) >= 4
    assert all(chunk.endswith(".") for chunk in found)
    assert all(200 <= len(chunk.split()) <= 400 for chunk in found)


def test_short_texts_stay_whole_and_short_rests_are_dropped():
    assert list(chunks(paragraph(150))) == [paragraph(150)]
    text = paragraph(300) + "\n\n" + paragraph(150, 1000)
    assert list(chunks(text)) == [paragraph(300)]


def test_splits_go_by_title_first():
    one = split_of(Document("Rapunzel", "A first telling."))
    assert split_of(Document("RAPUNZEL!", "Quite another one.")) == one


@pytest.mark.parametrize(
    "document",
    [
        lambda i: Document("", f"text {i}"),
        lambda i: Document(str(i), "all of one text"),
        lambda i: Document(" ", f"{i} apples"),
        lambda i: Document("", f"{i:012b}".replace("0", "+").replace("1", "- ")),
        lambda i: Document(f"text {chr(97 + i % 26)}{'ab' * (i // 26)}", ""),
    ],
)
def test_one_in_twenty_is_held_out_whatever_tells_documents_apart(document):
    found = [split_of(document(i)) for i in range(4000)]
    assert 100 < found.count("test") < 320
    assert 100 < found.count("validation") < 320


def test_fingerprints_ignore_punctuation_and_case():
    assert fingerprint("Once, upon a TIME!") == fingerprint("once upon a time")
    assert fingerprint("once upon a time") != fingerprint("once upon a tim")


def test_a_fingerprint_is_no_test_of_equality_and_the_digest_is():
    assert fingerprint("x - 1") == fingerprint("x + 1")
    assert fingerprint("x - 1") != fingerprint("x - 2")
    assert fingerprint("+ - +") != fingerprint("- + -")
    assert isinstance(fingerprint("\ud800"), int)
    assert len({exact_digest(t) for t in ("x - 1", "x + 1", "X - 1")}) == 3


def test_leakage_finds_a_copied_document():
    def words(start):
        return " ".join(
            chr(97 + i % 26) * (1 + i // 26) for i in range(start, start + 60)
        )

    shared = words(0)
    found = leakage([words(200), shared], [shared, words(400)])
    assert (found.documents, found.duplicates) == (2, 1)
    assert found.shared == pytest.approx(0.5)
    assert leakage([words(200)], [words(400)]).shared == 0


def test_nothing_is_said_of_documents_too_short_to_compare():
    found = leakage(["a few words"], ["a few words"])
    assert (found.documents, found.too_short, found.duplicates) == (1, 1, 0)
    assert found.shared is None
    numbers = " ".join(map(str, range(40)))
    assert leakage([numbers], [numbers]).shared == 1
