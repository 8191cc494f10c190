"""Which words of real prose are names, and what their replacement leaves."""

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.tasks.stories import StoriesConfig
from synth.tasks.text.capitals import place_after
from synth.tasks.text.detection import NAME_RULE, NameWords, rename


def tale(name, more=""):
    """A story of one character."""
    return (
        f"Once there was a child called {name}. One day {name} went out. The dog ran to "
        f"{name}. {more} Then {name} came home."
    )


def found(name, *others, count=50):
    """The names in a tale of somebody, among others of their kind."""
    words = NameWords.of([tale(name)] * count + list(others))
    return set(words.in_text(tale(name)))


SPELLINGS = (
    "O'Neil O’Neil D'Artagnan Zoë José Chloé McDonald Bo Al TIM Ann-Marie Jean‑Luc "
    "Маша Ελένη Łukasz Lily Zoe\u0308"
)


@pytest.mark.parametrize("name", SPELLINGS.split())
def test_names_of_all_spellings(name):
    assert found(name) == {name}


@pytest.mark.parametrize("word", ["I", "TV", "OK", "Mrs", "XIV", "Monday", "Easter"])
def test_words_that_are_always_capitalised_are_no_names(word):
    assert found(word) == set()


def test_titles_days_months_and_holidays_stay():
    text = (
        "On a day we saw Mrs. Brown. The dog ran to Mrs. Brown on Monday; we like "
        "Christmas and Monday. Then Dr. Brown came in July, and in July we met Aunt "
        "Polly at Christmas. Was Aunt Polly at home? We told Father, and Father told "
        "King Arthur. We had read of King Arthur in French, for French is hard."
    )
    assert set(NameWords.of([text] * 50).in_text(text)) == {"Brown", "Arthur", "Polly"}


def test_a_few_lily_pads_leave_lily_a_name():
    pads = [tale("Lily", "She saw a lily pad." if i < 5 else "") for i in range(500)]
    others = [tale("Anna")] * 500
    assert NameWords.of(pads + others).words == {"Lily", "Anna"}


ORDINARY = (
    "The rose will rise, and you may mark it. A rose may fade and it will be marked. "
    "We will mark a rose, and they may bill you. Mark my words, said the man, who will "
    "mark this rose. Will you? May we? In May it rains, and last May it rained."
)


@pytest.mark.parametrize("name", ["Rose", "Will", "May", "Mark", "Bill"])
def test_a_word_is_a_name_where_a_text_writes_it_so(name):
    words = NameWords.of([ORDINARY] * 100 + [tale(name)])
    assert set(words.in_text(tale(name))) == {name}
    assert words.in_text(ORDINARY) == {}


def test_april_is_a_month_or_a_girl():
    month = "It was warm in April. We met last April, and in April we wed. Is it April?"
    words = NameWords.of([month] * 20 + [tale("April")] * 20)
    assert words.in_text(month) == {}
    assert set(words.in_text(tale("April"))) == {"April"}


def test_an_epithet_is_no_name():
    text = (
        "Then the Lion met his Majesty. He told the Lion of his Majesty, and the old "
        "Lion bowed. We saw Dorothy and the Lion. They heard Dorothy speak to the Lion."
    )
    assert set(NameWords.of([text] * 9).in_text(text)) == {"Dorothy"}


def test_a_place_is_no_name():
    text = "He lived in Rome with Anna. They loved Rome, and in Rome he told Anna so."
    assert set(NameWords.of([text] * 9).in_text(text)) == {"Anna"}


def test_shouting_mentions_the_same_name():
    text = 'They lost Lily. "Oh, LILY!" they cried, and again, LILY and LILY\'S dog.'
    assert list(NameWords.of([text, tale("Lily")]).in_text(text)) == ["Lily"]
    assert len(NameWords.of([text, tale("Lily")]).in_text(text)["Lily"]) == 4


def test_headings_are_no_names():
    text = "We read on. CHAPTER TWO OF THE TALE ends. CHAPTER TWO OF THE TALE begins."
    assert NameWords.of([text] * 9).in_text(text) == {}


@pytest.mark.parametrize(
    ("before", "place"),
    [
        ("said", "within"),
        ('me,"', "within"),
        ('me!"', "start"),
        ("home.", "start"),
        ("Mrs.", "within"),
        ("J.", "within"),
        ("end.\n\nThe", "determined"),
        ("Mary", "joined"),
        ("King", "within"),
        ("CHAPTER", "start"),
        ("into", "inside"),
        ("12", "date"),
        ("--", "start"),
        ("", "start"),
    ],
)
def test_what_stands_before_a_word_says_where_it_is(before, place):
    assert place_after(before) == place


SENTENCES = st.sampled_from(
    "Once {0} met {1}.|Then {1} saw the rose, and {0} ran.|A lily grew in {1}.|We will "
    "tell {0}.|{0} and {1} sat.|The {1} slept.|{1}! LILY and {0}!|On Monday Mrs. {0} "
    "came to {1}.|may we mark it?|It was {0}'s, said {1}.".split("|")
)
NAMES = st.sampled_from(
    ["Lily", "Rose", "Will", "May", "O'Neil", "Zoë", "Bo", "TIM", "Lion", "Rome", "TV"]
)
TEXTS = st.lists(
    st.lists(
        st.builds(str.format, SENTENCES, NAMES, NAMES), min_size=1, max_size=8
    ).map(" ".join),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS, times=st.integers(1, 50))
def test_a_longer_corpus_of_the_same_kind_has_the_same_names(texts, times):
    once, often = NameWords.of(texts), NameWords.of(texts * times)
    assert once == often
    assert [once.in_text(t) for t in texts] == [often.in_text(t) for t in texts]


POSSESSIVES = (
    "We know Lily's hat, and James' hat, and James's dog; O'Neil’s cat saw Lily and "
    "James. Then Ann-Marie's hen met O'Neil, Lily-like, with Ann-Marie. So LILY'S hen."
)


def test_possessives_and_apostrophes_outlive_the_replacement(tokenizer, pairs):
    mentions = NameWords.of([POSSESSIVES]).in_text(POSSESSIVES)
    assert set(mentions) == {"Lily", "James", "O'Neil", "Ann-Marie"}
    tokens, marks = rename(POSSESSIVES, mentions, pairs.tokens_P2, tokenizer)
    text = tokenizer.decode(tokens[:-1])
    assert tokenizer.encode(text) == tokens[:-1]
    for old, new in zip(mentions, pairs.text, strict=False):
        text = re.sub(rf"(?<= ){new}(?!\w)", old, text)
    assert text == POSSESSIVES.replace("LILY", "Lily")
    assert sum(mark % 2 for mark in marks) == sum(map(len, mentions.values()))


def test_the_report_says_what_was_taken_and_left_and_why():
    texts = [tale("Zoë", "We saw Mrs. Hill on Monday.")] * 4 + [ORDINARY] * 9
    texts.append(tale("Rose"))
    words = NameWords.of(texts)
    report = words.report(words.in_text(text) for text in texts)
    assert report["taken"] == {"words": 1, "occurrences": 16, "most frequent": "Zoë 16"}
    assert report["taken in some texts"]["most frequent"] == "Rose 4"
    left = report["left"]
    assert left["titles"] == {"words": 1, "occurrences": 4, "most frequent": "Mrs 4"}
    assert left["days and holidays"]["most frequent"] == "Monday 4"
    assert left["mostly in lower case"]["most frequent"] == "Rose 4"
    assert "Will 9" in left["only where a sentence may begin"]["most frequent"]
    assert left["months"]["most frequent"] == "May 27"


def test_names_come_back_from_what_is_stored():
    words = NameWords.of([ORDINARY] * 9 + [tale("Rose"), tale("Zoë")])
    again = NameWords.restored(words.stored)
    assert again == words
    assert again.in_text(tale("Rose")) == words.in_text(tale("Rose"))


def test_the_rule_is_part_of_a_corpus_run_alone(tmp_path):
    path = tmp_path / "tales.txt"
    path.write_text(tale("Lily"))
    own = StoriesConfig(corpus=str(path))
    assert own.canonical()["reading"].endswith(f", names {NAME_RULE}")
    assert "reading" not in StoriesConfig().canonical()
    assert "names" not in StoriesConfig(books=str(path), books_parts=9).reading
    older = dataclasses.replace(own, reading=own.reading.replace("names 2", "names 1"))
    with pytest.raises(
        ValueError, match=r"StoriesConfig.reading is .*names 1.*names 2"
    ):
        older.build()
