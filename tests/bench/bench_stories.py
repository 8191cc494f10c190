"""Story tokens per second: gathered in numpy, against plain Python and tracery.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_stories [--repeats 15]

All sides write stories of three characters from the same words, frames and plots, and
take turns in one process; the table gives medians. Text from the plain generator and
from tracery still has to be encoded, which is timed apart, with tiktoken if there is
one. tracery (`pip install --no-deps tracery3`) keeps no names through a story, so it is
given one flat grammar of frames, and is left out if it is not installed.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from itertools import islice

from synth.tasks.stories import StoriesConfig
from synth.tasks.text.frames import Frame, Segment
from synth.tasks.text.grammar import grammar
from synth.tasks.text.plain import plain_stories, syllable_names
from synth.tasks.text.story_draws import StoryConfig

STORIES = 200


def flat_grammar() -> dict[str, list[str]]:
    """The frames as a context-free grammar: a story is so many sentences of any beat."""
    source = grammar("story")
    rules = {
        f"word {name}": [w.text for w in ws] for name, ws in source.classes.items()
    }
    rules |= {f"pronoun {name}": list(pair) for name, pair in source.pronouns.items()}
    rules["name"] = syllable_names(random.Random(0), 2000)
    frames = [frame for some in source.beats.values() for frame in some]

    def symbol(segment: Segment) -> str:
        if segment.kind == "name":
            return "name"
        if segment.kind == "pronoun":
            return f"pronoun {segment.key}"
        bound = segment.kind == "bound"
        of = source.bindings[segment.key][0] if bound else segment.key
        return f"word {of}"

    def line(frame: Frame) -> str:
        parts = [
            s.key if s.kind == "text" else f" #{symbol(s)}#" for s in frame.segments
        ]
        return "".join(parts).strip()

    rules["sentence"] = [line(frame) for frame in frames]
    rules["origin"] = [" ".join(["#sentence#"] * 18)]
    return rules


def timed(work: Callable[[], int]) -> tuple[float, int]:
    """CPU seconds, and what the work returns."""
    began = time.process_time()
    done = work()
    return time.process_time() - began, done


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    task = StoriesConfig(story=StoryConfig(min_characters=3)).build()
    stories, tokenizer = task._stories, task.tokenizer
    rng = random.Random(0)
    names = syllable_names(rng, 20_000)
    told = plain_stories(rng, grammar("story"), names)
    texts: list[str] = []

    def gathered() -> int:
        return len(stories.draw(0, rng.randrange(1 << 30), 500, "bench").tokens_S)

    def rows() -> int:
        return task.train_rows(0, rng.randrange(1 << 30), 256).tokens_RT.size

    def plain() -> int:
        texts[:] = islice(told, STORIES)
        return sum(map(len, texts))

    def encoded() -> int:
        return sum(len(tokenizer.encode(text)) for text in texts)

    def encoded_slowly() -> int:
        return sum(len(tokenizer.encode_slowly(text)) for text in texts)

    sides: dict[str, Callable[[], int]] = {
        "numpy gather, tokens": gathered,
        "training rows with roles, tokens": rows,
        "plain Python, characters": plain,
        "encoding plain text, tokens": encoded,
        "the same by tokenizers, tokens": encoded_slowly,
    }
    try:
        import tracery

        flat = tracery.Grammar(flat_grammar())
        sides["tracery, characters"] = lambda: sum(
            len(flat.flatten("#origin#")) for _ in range(20)
        )
    except ImportError:
        print("tracery is not installed: left out")
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side()
    for _ in range(repeats):
        for name, side in sides.items():
            seconds, done = timed(side)
            rates[name].append(done / seconds)
    median = {name: statistics.median(some) for name, some in rates.items()}
    per_token = sum(map(len, texts)) / encoded()
    text_rate = 1 / (
        per_token / median["plain Python, characters"]
        + 1 / median["encoding plain text, tokens"]
    )
    for name, rate in median.items():
        print(f"{name:<36}{rate / 1e6:>10.3f} M per CPU second")
    print(f"{'plain Python with encoding, tokens':<36}{text_rate / 1e6:>10.3f} M")
    ratio = median["numpy gather, tokens"] / text_rate
    print(f"gathered over plain with encoding: {ratio:.1f} times")
    if "tracery, characters" in median:
        other = median["tracery, characters"] / per_token
        ratio = median["numpy gather, tokens"] / other
        print(f"gathered over tracery without encoding: {ratio:.0f} times")


if __name__ == "__main__":
    main()
