from collections import Counter

import numpy as np
import pytest

from synth.tasks.text.roles import roles
from synth.tasks.text.story_draws import StoryConfig
from synth.tasks.text.story_generator import StoryGenerator
from synth.tasks.text.windows import (
    EndlessStories,
    FixedDocuments,
    FixedStories,
    Mixture,
    ShuffledWindows,
    block_rows,
    cut,
)


@pytest.fixture
def stories(tokenizer, names):
    return StoryGenerator(StoryConfig(), tokenizer, names)


def documents(count, seed=0):
    """Documents of distinct tokens: each says where it comes from."""
    lengths = np.random.default_rng(seed).integers(1, 40, count)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return FixedDocuments(np.arange(starts[-1]), None, starts)


def test_windows_are_the_stories_cut(stories, tokenizer, monkeypatch):
    source, draw, drawn = EndlessStories(stories), stories.draw, []

    def kept(*given):
        drawn.append(draw(*given))
        return drawn[-1]

    monkeypatch.setattr(stories, "draw", kept)
    monkeypatch.setattr("synth.tasks.text.windows.STORIES_PER_DRAW", 3)
    rows = source.windows(3, 2, 20, 64)
    assert rows.tokens_RT.shape == (20, 64)
    for name in ("tokens", "mark"):
        whole = np.concatenate([getattr(part, f"{name}_S") for part in drawn])
        assert np.array_equal(getattr(rows, f"{name}_RT").ravel(), whole[: 20 * 64])
    assert sum(len(part.tokens_S) for part in drawn[:-1]) < 20 * 64
    assert len({part.tokens_S.tobytes() for part in drawn}) == len(drawn) > 1
    # A document number rises exactly after an end of text.
    ends = rows.tokens_RT[:, :-1] == tokenizer.end
    assert (np.diff(rows.example_RT, axis=1) == ends).all()
    assert (rows.example_RT[:, 0] == 1).all()


def test_blocks_are_random_access_and_differ(stories):
    source = EndlessStories(stories)
    later = source.windows(0, 9, 8, 64).tokens_RT
    fresh = EndlessStories(stories)
    assert (fresh.windows(0, 9, 8, 64).tokens_RT == later).all()
    assert (fresh.windows(0, 8, 8, 64).tokens_RT != later).any()
    assert (fresh.windows(1, 9, 8, 64).tokens_RT != later).any()


def test_an_epoch_holds_every_document_once():
    source = documents(200)
    context = 16
    per_epoch = source.num_tokens // context
    for epoch in (0, 1):
        seen = np.concatenate(
            [
                source.windows(0, block, 1, context).tokens_RT.ravel()
                for block in range(epoch * per_epoch, (epoch + 1) * per_epoch)
            ]
        )
        assert len(set(seen.tolist())) == len(seen) == per_epoch * context


def test_epochs_differ_in_order_and_blocks_do_not_matter():
    source = documents(200)
    context = 16
    per_epoch = source.num_tokens // context
    whole = source.windows(5, 0, 2 * per_epoch, context).tokens_RT
    parts = [source.windows(5, b, 1, context).tokens_RT for b in range(2 * per_epoch)]
    assert (whole == np.concatenate(parts)).all()
    assert (whole[:per_epoch] != whole[per_epoch:]).any()
    assert (
        source.windows(6, 0, per_epoch, context).tokens_RT != whole[:per_epoch]
    ).any()


def test_example_numbers_follow_the_documents():
    source = documents(50)
    rows = source.windows(0, 0, source.num_tokens // 16, 16)
    begins = np.isin(rows.tokens_RT, source.starts_D)
    assert (begins[:, 1:] == np.diff(rows.example_RT, axis=1).astype(bool)).all()


def test_fixed_stories_repeat_and_endless_ones_do_not(stories):
    fixed = FixedStories(stories, 30)
    tokens = fixed._documents(0).num_tokens
    rows = tokens // 64
    first = Counter(fixed.windows(0, 0, rows, 64).tokens_RT.ravel().tolist())
    second = Counter(fixed.windows(0, 1, rows, 64).tokens_RT.ravel().tolist())
    assert sum((first - second).values()) < 64
    rows_0 = fixed.windows(0, 0, rows, 64)
    assert (roles(rows_0.mark_RT, rows_0.example_RT) == 4).any()
    assert fixed._documents(1).tokens_S[:50].tolist() != (
        fixed._documents(0).tokens_S[:50].tolist()
    )


@pytest.mark.parametrize("parts", [(1, 9), (2, 3), (1, 0)])
def test_mixtures_are_exact_in_every_group(parts):
    low, high = documents(300), documents(300, seed=1)
    high.tokens_S = high.tokens_S + 1_000_000
    source = Mixture([low, high], parts)
    group = sum(parts)
    rows = source.windows(0, 3, 20 * group, 16)
    of_high = rows.tokens_RT >= 1_000_000
    assert (of_high.all(1) | ~of_high.any(1)).all()  # no window mixes
    assert (of_high[:, 0].reshape(20, group).sum(1) == parts[1]).all()
    if all(parts):
        assert len({tuple(g) for g in of_high[:, 0].reshape(20, group).tolist()}) > 1
    # Each source is read in its own order, window by window.
    alone = low.windows(0, 3, 20 * parts[0], 16).tokens_RT
    assert (rows.tokens_RT[~of_high[:, 0]] == alone).all()


def test_shuffled_windows_cover_an_epoch_once():
    source = ShuffledWindows(np.arange(1000), np.array([0, 400, 1000]))
    per_epoch = 1000 // 32 - 1
    rows = source.windows(0, 0, per_epoch, 32)
    flat = rows.tokens_RT.ravel()
    assert len(set(flat.tolist())) == len(flat)
    assert (np.diff(rows.tokens_RT, axis=1) == 1).all()
    later = source.windows(0, 1, per_epoch, 32)
    assert (later.tokens_RT[:, 0] != rows.tokens_RT[:, 0]).any()
    with_border = [row for row in rows.example_RT if row.max() == 2]
    assert len(with_border) <= 1


def test_too_short_texts_are_refused():
    with pytest.raises(ValueError, match="shorter context"):
        documents(1).windows(0, 0, 1, 1000)
    with pytest.raises(ValueError, match="shorter context"):
        ShuffledWindows(np.arange(50), np.array([0, 50])).windows(0, 0, 1, 32)


def test_cut_drops_the_rest():
    rows = cut(np.arange(10), np.zeros(10, np.uint8), np.zeros(10, bool), 4)
    assert rows.tokens_RT.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize(("context", "group"), [(256, 1), (256, 10), (100_000, 3)])
def test_block_rows_are_whole_groups(context, group):
    rows = block_rows(context, group)
    assert rows >= group
    assert rows % group == 0
