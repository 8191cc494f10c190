import re
from itertools import islice
from random import Random

import pytest

from synth.tasks.text.frames import Word
from synth.tasks.text.grammar import grammar, read_grammar
from synth.tasks.text.plain import plain_stories

WORDS = """
[bindings]
story home = dwelling
[pronouns]
he: he, she
[dwelling]
hut, inn
"""
PLOTS = "[opening]\nonce\n[body: x]\nonce\n[next]\nonce\n[ending]\nonce\n"


def write(folder, frames, words=WORDS, plots=PLOTS):
    for name, text in (("words", words), ("frames", frames), ("plots", plots)):
        (folder / f"{name}.txt").write_text(text)
    return folder


@pytest.mark.parametrize("profile", ["story", "book"])
def test_data_files_have_the_promised_size(profile):
    found = grammar(profile)
    entries = [word.text for words in found.classes.values() for word in words]
    words = {word.lower() for entry in entries for word in entry.split()}
    assert len(words) >= 1000
    assert sum(map(len, found.beats.values())) >= 300


@pytest.mark.parametrize("characters", [1, 2, 3, 4])
def test_every_number_of_characters_has_plots(characters):
    for part in ("opening", "body", "next", "ending"):
        plots = grammar("story").parts(part, characters)
        assert plots
        assert max(plot.cast for plot in plots) <= characters


def test_plain_stories_are_well_formed():
    names = ["Zorbel", "Kindor", "Mafra", "Tulop", "Wexim", "Perod", "Halic"]
    for text in islice(plain_stories(Random(0), grammar("book"), names), 400):
        assert "{" not in text
        assert "  " not in text
        assert text[0].isupper() or text[0] == '"'
        assert text.rstrip('"')[-1] in ".!?"
        assert not re.search(r"\ba [aeio]\w", text), text  # a + vowel sound
        assert not re.search(r"\b[Aa]n [^aeiouh]", text), text
        assert text.count('"') % 2 == 0
        assert not re.search(r"[.!?] [a-z]", text), text


@pytest.mark.parametrize(
    ("entry", "plural"),
    [
        ("box", "boxes"),
        ("berry", "berries"),
        ("day", "days"),
        ("wolf|wolves", "wolves"),
        ("branch", "branches"),
    ],
)
def test_plurals(entry, plural):
    assert Word.read(entry).form("s") == f" {plural}"


@pytest.mark.parametrize(
    ("word", "shown"),
    [("apple", "an"), ("unicorn", "a"), ("hour", "an"), ("one", "a"), ("fox", "a")],
)
def test_articles(word, shown):
    assert Word(word, "").form("a") == f" {shown} {word}"
    assert Word(word, "").form("An") == f" {shown.capitalize()} {word}"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ("The {castle} of {A}.", "frames.txt, line 2: .castle. is neither"),
        ('He saw "{A}".', "no space before"),
        ("The {home}s of {A}.", "must end where a word ends"),
        ("Then {A.them} came to {A}.", "is not one of the pronouns"),
        ("{A} came.", "cannot open a paragraph"),
        ("Then came the {home}.", "may leave out character A"),
    ],
)
def test_refuses_with_file_and_line(tmp_path, frame, message):
    frames = f"[once]\n{frame}\nThen {{A}} came.\n"
    with pytest.raises(ValueError, match=message):
        read_grammar(write(tmp_path, frames))


def test_refuses_a_frame_twice(tmp_path):
    with pytest.raises(ValueError, match="line 3: the frame occurs twice"):
        read_grammar(write(tmp_path, "[once]\nThen {A} came.\nThen {A} came.\n"))


def test_refuses_unknown_beats_and_classes(tmp_path):
    frames = "[once]\nThen {A} came.\n"
    with pytest.raises(ValueError, match="no beat is called 'never more'"):
        read_grammar(write(tmp_path, frames, plots="[opening]\nonce never-more\n"))
    words = WORDS.replace("= dwelling", "= palace")
    with pytest.raises(ValueError, match="unknown class 'palace'"):
        read_grammar(write(tmp_path, frames, words=words))
