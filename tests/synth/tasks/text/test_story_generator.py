"""The generator against its grammar, its tokeniser and exhaustive enumeration."""

import hashlib
import itertools
from collections import Counter

import numpy as np
import pytest

from synth.__main__ import parse
from synth.tasks.text.fragments import compile_grammar
from synth.tasks.text.frames import StoryPlot
from synth.tasks.text.grammar import grammar, read_grammar
from synth.tasks.text.names import NamePairs, NameSource
from synth.tasks.text.story_draws import StoryConfig
from synth.tasks.text.story_generator import StoryGenerator
from synth.tasks.text.tokenizer import Tokenizer, train_byte_pairs

DENSE = StoryConfig(min_characters=1, characters=4, asides=2, fillers=2)


def make(tokenizer, names, **changes):
    return StoryGenerator(StoryConfig(**changes), tokenizer, names)


def test_same_block_same_bytes(tokenizer, names):
    stories = make(tokenizer, names)
    stories.draw(0, 5, 40, "train")  # what was drawn before plays no part
    first = stories.draw(3, 7, 40, "train")
    again = make(tokenizer, names).draw(3, 7, 40, "train")
    other = stories.draw(3, 8, 40, "train")
    assert first.tokens_S.tobytes() == again.tokens_S.tobytes()
    assert first.mark_S.tobytes() == again.mark_S.tobytes()
    assert first.tokens_S[:200].tolist() != other.tokens_S[:200].tolist()


@pytest.mark.parametrize("size", [2048, 4096, 8192])
@pytest.mark.parametrize("profile", ["story", "book"])
def test_tokens_equal_those_of_the_joined_text(texts, size, profile, names, tokenizer):
    if size != 2048:
        from synth.tasks.text.names import candidates, of_split

        tokenizer = train_byte_pairs(texts, size)
        found = candidates(tokenizer, 32, 64, grammar("book").all_words)
        names = NameSource([of_split(found, "train")], [1.0])
    stories = make(tokenizer, names, profile=profile, asides=1, fillers=1, episodes=2)
    drawn = stories.draw(0, 0, 60, "train", with_nats=True)
    for d in range(len(drawn)):
        tokens, _ = drawn.document(d)
        *body, end = tokens.tolist()
        assert end == tokenizer.end
        assert tokenizer.encode(tokenizer.decode(body)) == body


def test_marks_show_the_names_drawn(tokenizer, names):
    drawn = StoryGenerator(DENSE, tokenizer, names).draw(0, 0, 200, "train")
    for d in range(len(drawn)):
        tokens, marks = drawn.document(d)
        cast = int(drawn.cast_D[d])
        pairs = names.tokens_P2[drawn.names_DC[d, :cast]]
        assert len(set(pairs[:, 0].tolist())) == cast
        for character in range(cast):
            at = np.flatnonzero(marks == 2 * character + 1)
            assert len(at) > 0  # the opening introduces everyone
            assert (marks[at + 1] == 2 * character + 2).all()
            assert (tokens[at] == pairs[character, 0]).all()
            assert (tokens[at + 1] == pairs[character, 1]).all()
        assert marks.max() == 2 * cast
        assert (marks > 0).sum() == 2 * (marks % 2 == 1).sum()


def test_words_come_from_the_lexicon(tokenizer, names):
    drawn = StoryGenerator(DENSE, tokenizer, names).draw(0, 1, 100, "train")
    known = grammar("story").all_words
    for d in range(len(drawn)):
        tokens, marks = drawn.document(d)
        text = tokenizer.decode(tokens[marks == 0].tolist())
        words = "".join(c if c.isalpha() else " " for c in text.lower()).split()
        assert set(words) - {"endoftext"} <= known


def test_no_frame_recurs_where_a_plot_repeats_a_beat(tokenizer, names):
    stories = make(tokenizer, names, min_characters=1, characters=1)
    text = [
        tokenizer.decode(stories.draw(0, 0, 300, "t").document(d)[0].tolist())
        for d in range(300)
    ]
    # "free" is drawn twice in a row; one of its frames begins with these words.
    assert (
        max(t.count("it was hard for") + t.count("It was hard for") for t in text) == 1
    )


def test_knobs_change_what_they_name(tokenizer, names):
    def measure(**changes):
        drawn = make(tokenizer, names, **changes).draw(0, 0, 200, "train")
        tokens = len(drawn.tokens_S) / 200
        mentions = (drawn.mark_S % 2 == 1).sum() / 200
        return tokens, mentions

    plain, asides = measure(), measure(asides=3)
    fillers, episodes = measure(fillers=3), measure(episodes=3)
    assert asides[1] > 1.8 * plain[1]
    assert fillers[0] > 1.8 * plain[0]
    assert fillers[1] < 1.1 * plain[1]
    assert episodes[0] > 2 * plain[0]
    assert measure(min_characters=1, characters=1)[1] < plain[1]


def test_a_knob_leaves_the_other_choices_as_they_were(tokenizer, names):
    plain = make(tokenizer, names).draw(0, 0, 50, "train")
    longer = make(tokenizer, names, fillers=1).draw(0, 0, 50, "train")
    assert (plain.names_DC == longer.names_DC).all()
    assert (plain.cast_D == longer.cast_D).all()
    head = plain.document(0)[0][:12].tolist()
    assert longer.document(0)[0][:6].tolist() == head[:6]


def test_golden_block(names, tokenizer):
    """Bytes of a block under a fixed alphabet: a change here is a new version."""
    fixed = _Letters()
    source = NameSource([_letter_names(fixed)], [1.0])
    drawn = StoryGenerator(StoryConfig(), fixed, source).draw(0, 0, 20, "train")
    text = fixed.decode(drawn.tokens_S.tolist())
    found = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert found == GOLDEN, f"{found}: raise StoriesConfig.version with this change"


GOLDEN = "628ce3fb7c116a22"


class _Letters(Tokenizer):
    """Characters, with two-letter names such as ` Ab` allowed as two tokens."""

    def __init__(self):
        firsts = [f" {chr(c)}" for c in range(ord("A"), ord("Z") + 1)]
        letters = [chr(c) for c in range(32, 127)] + ["\n"]
        self.vocabulary = ("", "<end>", *letters, *firsts)
        self.end = 1
        self.digest = "letters"
        self._number = {c: i for i, c in enumerate(self.vocabulary)}

    def encode(self, text):
        return [self._number[c] for c in text]

    def decode(self, tokens):
        return "".join(self.vocabulary[t] for t in tokens)


def _letter_names(tokenizer):
    texts = [f"{a}{b}" for a in "ABCDEFGH" for b in "xyz"]
    number = tokenizer._number
    tokens = np.array([(number[f" {t[0]}"], number[t[1]]) for t in texts])
    return NamePairs(tokens, tuple(texts))


TINY_WORDS = """
[bindings]
story home = dwelling
episode thing = toy
[pronouns]
he: he, she
[dwelling]
hut, inn
[toy]
ball, kite, drum
[mood]
glad, sad
"""
TINY_FRAMES = """
[once]
Once {A} had {a home}.
In {a home} lived {A}.
[play]
Then {A} threw the {thing} and {?mood} {A.he} ran.
So {A.he} took the {thing} home to the {home}.
[aside]
And {X} was {mood}.
[scenery]
It was {mood} there.
It rained.
"""
TINY_PLOTS = """
[opening]
once
[body: one]
play
[body: two]
play play
[next]
once
[ending]
play
"""


def test_log_probabilities_by_enumeration(tmp_path, monkeypatch):
    """Equal texts have equal probability, and frequencies agree with it."""
    for name, text in (
        ("words", TINY_WORDS),
        ("frames", TINY_FRAMES),
        ("plots", TINY_PLOTS.replace("[ending]\nplay", "[ending]\nonce")),
    ):
        (tmp_path / f"{name}.txt").write_text(text)
    fixed = _Letters()
    tiny = read_grammar(tmp_path)
    # Four characters can be asked for; only A is ever named, so one is enough.
    for cast in (2, 3, 4):
        tiny.plots.append(StoryPlot("opening", "", ("once",), (True,), cast))
    source = NameSource([_letter_names(fixed)], [1.0])
    monkeypatch.setattr(
        "synth.tasks.text.story_generator.fragments",
        lambda *_: compile_grammar(tiny, fixed),
    )
    config = StoryConfig(min_characters=1, characters=1)
    stories = StoryGenerator(config, fixed, source)
    drawn = stories.draw(0, 0, 60_000, "train", with_nats=True)
    seen, cost = Counter(), {}
    for d in range(len(drawn)):
        tokens, _ = drawn.document(d)
        key = tokens.tobytes()
        seen[key] += 1
        nats = float(drawn.nats(d).sum())
        assert cost.setdefault(key, nats) == pytest.approx(nats)
    # The probabilities of different texts add up to at most 1, and to nearly 1 over
    # the texts seen; texts are drawn as often as theirs says.
    expected = np.array([60_000 * np.exp(-cost[key]) for key in cost])
    counts = np.array([seen[key] for key in cost])
    assert 0.95 < expected.sum() / 60_000 <= 1 + 1e-9
    often = expected > 4
    assert often.sum() > 100
    deviation = (counts[often] - expected[often]) ** 2 / expected[often]
    assert 0.8 < deviation.mean() < 1.2
    entropy = sum(seen[key] * cost[key] for key in seen) / 60_000
    assert entropy == pytest.approx(_tiny_entropy(), abs=0.02)


def _tiny_entropy():
    """By hand: opening, name, home, body (one or two beats), ending, gender, thing.

    A frame of "play" is the first or the second, and the second of two is the other
    one. The thing shows in both; the gender in both; the home is always shown by then.
    """
    log = np.log
    mood = 0.5 * log(2) + 0.5 * log(4)
    opening = log(2) + log(24) + log(2)
    one = log(2) + log(3) + log(2) + 0.5 * mood
    two = log(2) + log(3) + log(2) + mood
    ending = log(2)
    return opening + log(2) + 0.5 * one + 0.5 * two + ending


def test_name_costs_are_exact(pairs):
    """Against all ordered tuples of a small pool with unequal weights."""
    small = pairs.take(range(12))
    weight = np.arange(1, 13, dtype=float)
    source = NameSource([small], [1.0], [weight])
    share = weight / weight.sum()
    allowed = {
        t: share[list(t)].prod()
        for t in itertools.product(range(12), repeat=3)
        if len({int(small.tokens_P2[i, 0]) for i in t}) == 3
    }
    total = sum(allowed.values())
    for names, probability in list(allowed.items())[::97]:
        row = np.array([[*names, 0]])
        nats = source.nats(row, np.array([3]))[0, :3]
        assert nats.sum() == pytest.approx(-np.log(probability / total))


def test_open_and_closed_pools_mix(pairs, tokenizer):
    closed, open_ = pairs.take(range(40)), pairs.take(range(40, len(pairs)))
    source = NameSource([closed, open_], [0.7, 0.3])
    cast = np.full(4000, 3)
    names = source.draw(np.random.default_rng(0), cast, 4)[:, :3]
    of_closed = names < 40
    assert (of_closed.all(1) | ~of_closed.any(1)).all()
    assert of_closed[:, 0].mean() == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize(
    ("field", "value"),
    [("characters", 5), ("min_characters", 4), ("episodes", 0), ("fillers", -1)],
)
def test_refuses_impossible_knobs(field, value):
    with pytest.raises(ValueError, match=f"StoryConfig.{field} must be .* got {value}"):
        StoryConfig(**{field: value})


def test_on_the_command_line_the_style_has_a_flag_of_its_own():
    """`--profile` is that of a cluster."""
    words = ["train", "stories", "--story-style", "book"]
    command = parse([*words, "--steps", "3", "--warmup-steps", "1"])
    assert command.task.story == StoryConfig(profile="book")
    with pytest.raises(ValueError, match="no option --profile"):
        parse(["sample", "stories", "--profile", "book"])
