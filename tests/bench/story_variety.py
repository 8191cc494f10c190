"""Measures how varied a sample of generated stories is.

python -m tests.bench.story_variety [--style book] [--p-open 0]
"""

import argparse
import lzma
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from synth.tasks.stories import StoriesConfig
from synth.tasks.text.cleaning import words_of
from synth.tasks.text.names import NameConfig
from synth.tasks.text.story_draws import StoryConfig


@dataclass(frozen=True)
class Variety:
    """Measures of a sample; shares are of all positions."""

    characters: int
    word_types: int
    once_4: float
    """Share of the 4-grams of words that occur once."""
    once_8: float
    """Share of the 8-grams of words that occur once."""
    bits_per_character: float
    """Under lzma."""


def variety(texts: Sequence[str]) -> Variety:
    """Measure a sample; only samples of equal size compare (2 MB by default)."""
    whole = "\n\n".join(texts)
    packed = len(lzma.compress(whole.encode(), preset=6))
    documents = [words_of(text) for text in texts]
    return Variety(
        len(whole),
        len({word for words in documents for word in words}),
        _once(documents, 4),
        _once(documents, 8),
        8 * packed / len(whole),
    )


def _once(documents: Sequence[Sequence[str]], n: int) -> float:
    grams = Counter(
        hash(tuple(words[i : i + n]))
        for words in documents
        for i in range(len(words) - n + 1)
    )
    total = grams.total()
    return sum(1 for count in grams.values() if count == 1) / total if total else 0.0


def main() -> None:
    """Print the table for stories of a profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--style", choices=("story", "book"), default="story")
    parser.add_argument("--p-open", type=float, default=1.0)
    parser.add_argument("--characters", type=int, default=2_000_000)
    options = parser.parse_args()
    task = StoriesConfig(
        story=StoryConfig(profile=options.style),
        names=NameConfig(p_open=options.p_open),
    ).build()
    texts: list[str] = []
    size = 0
    while size < options.characters:
        texts += [str(s.record["text"]) for s in task.samples(len(texts), 500)]
        size = sum(map(len, texts))
    for name, value in asdict(variety(texts)).items():
        print(f"{name:<20}{value:>12.4g}")
    (chosen,) = (s for s in task.evaluation_sets(500) if s.suite == "training_names")
    nats_R = chosen.labels["nats_RT"].sum(axis=1)
    print(f"{'bits_per_story':<20}{nats_R.mean() / 0.6931471805599453:>12.4g}")


if __name__ == "__main__":
    main()
