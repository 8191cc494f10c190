"""Words, frames and plots of the story generator, read from text files and checked.

The files under `data/` explain themselves; `data/story` is read for every profile, and
`data/book` on top of it for books. Every refusal names the file and the line.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from synth.tasks.text.frames import CHARACTERS, Frame, Segment, StoryPlot, Word

FOLDERS: dict[str, tuple[str, ...]] = {"story": ("story",), "book": ("story", "book")}
MOST_REPEATS = 4
"""How often a beat may occur in one plot; its frames are drawn without replacement."""

_SLOT = re.compile(r"\{([^{}]*)\}")


@dataclass
class Grammar:
    """Words, frames and plots of a profile."""

    classes: dict[str, tuple[Word, ...]] = field(default_factory=dict)
    bindings: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Binding -> (its class, "story" or "episode")."""
    pronouns: dict[str, tuple[str, str]] = field(default_factory=dict)
    beats: dict[str, tuple[Frame, ...]] = field(default_factory=dict)
    plots: list[StoryPlot] = field(default_factory=list)
    digest: str = ""
    """Hex sha256 of the files."""

    @property
    def all_words(self) -> frozenset[str]:
        """Every word that can stand in a story, in lower case."""
        texts = [frame.text for frames in self.beats.values() for frame in frames]
        texts = [_SLOT.sub(" ", text) for text in texts]
        for words in self.classes.values():
            texts += [f"{word.text} {word.plural}" for word in words]
        texts += [" ".join(pair) for pair in self.pronouns.values()]
        return frozenset(re.findall(r"[a-z]+", " ".join(texts).lower()))

    def parts(self, part: str, characters: int) -> list[StoryPlot]:
        """The plots of a part that a story with so many characters can use.

        An opening introduces every character, so it must need exactly so many.
        """
        exact = part == "opening"
        return [
            plot
            for plot in self.plots
            if plot.part == part
            and (plot.cast == characters if exact else plot.cast <= characters)
        ]


@cache
def grammar(profile: str) -> Grammar:
    """The grammar of a profile, "story" or "book"."""
    data = Path(__file__).parent / "data"
    return read_grammar(*(data / folder for folder in FOLDERS[profile]))


def read_grammar(*folders: Path) -> Grammar:
    """Read words.txt, frames.txt and plots.txt of each folder; later ones add to it.

    Raises `ValueError`, naming file and line of an unknown slot, class, beat or plot
    part, an empty section, a slot that is not preceded by a space or is followed by a
    letter, a paragraph that may open with a slot, a frame that occurs twice.
    """
    source = Grammar()
    for folder in folders:
        _read_words(source, folder / "words.txt")
    for folder in folders:
        _read_frames(source, folder / "frames.txt")
    for folder in folders:
        _read_plots(source, folder / "plots.txt")
    _check_cast(source)
    files = ("words.txt", "frames.txt", "plots.txt")
    content = b"".join((folder / f).read_bytes() for folder in folders for f in files)
    source.digest = hashlib.sha256(content).hexdigest()
    return source


def _check_cast(source: Grammar) -> None:
    """Check that every opening names each of its characters, whatever frames are drawn."""
    for plot in source.plots:
        for character in range(plot.cast if plot.part == "opening" else 0):
            if not any(
                all(frame.names(character) for frame in source.beats[beat])
                for beat in plot.beats
            ):
                raise ValueError(
                    f"The opening {' '.join(plot.beats)!r} may leave out character "
                    f"{CHARACTERS[character]}: some beat must name it in all frames."
                )


def _sections(path: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Each section's title and its lines, each with its place for messages."""
    title, lines = "", list[tuple[str, str]]()
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        line, place = line.strip(), f"{path.parent.name}/{path.name}, line {number}"
        if line.startswith("[") and line.endswith("]"):
            if title:
                yield title, lines
            title, lines = line[1:-1].strip(), []
        elif line and not line.startswith("#"):
            if not title:
                raise ValueError(f"{place}: expected a [section] before {line!r}.")
            lines.append((place, line))
    if title:
        yield title, lines


def _read_words(source: Grammar, path: Path) -> None:
    for title, lines in _sections(path):
        if title == "bindings":
            for place, line in lines:
                scope, name, _, of = _expect(
                    line.split(), 4, place, "scope name = class"
                )
                if scope not in ("story", "episode"):
                    raise ValueError(
                        f"{place}: a binding lasts for a story or an episode."
                    )
                source.bindings[name] = (of, scope)
        elif title == "pronouns":
            for place, line in lines:
                name, _, rest = line.partition(":")
                pair = _expect(
                    [p.strip() for p in rest.split(",")], 2, place, "two words"
                )
                source.pronouns[name.strip()] = (pair[0], pair[1])
        else:
            entries = ", ".join(line for _, line in lines).split(",")
            earlier = {word.text: word for word in source.classes.get(title, ())}
            new = [Word.read(entry) for entry in entries if entry.strip()]
            source.classes[title] = tuple((earlier | {w.text: w for w in new}).values())
    for name, (of, _) in source.bindings.items():
        if of not in source.classes:
            raise ValueError(f"{path}: binding {name!r} is of unknown class {of!r}.")
    for title, words in source.classes.items():
        if not words or title in source.bindings:
            raise ValueError(f"{path}: class {title!r} is empty, or also a binding.")


def _expect(parts: list[str], count: int, place: str, what: str) -> list[str]:
    if len(parts) != count:
        raise ValueError(f"{place}: expected {what}; got {' '.join(parts)!r}.")
    return parts


def _read_frames(source: Grammar, path: Path) -> None:
    earlier = {frame.text for frames in source.beats.values() for frame in frames}
    for title, lines in _sections(path):
        frames = []
        for place, line in lines:
            if line in earlier:
                raise ValueError(f"{place}: the frame occurs twice: {line!r}.")
            earlier.add(line)
            frames.append(Frame(line, tuple(_segments(line, source, place))))
        source.beats[title] = source.beats.get(title, ()) + tuple(frames)


def _segments(line: str, source: Grammar, place: str) -> Iterator[Segment]:
    """The pieces of a frame; a slot takes the space before it."""
    end = 0
    for match in _SLOT.finditer(line):
        before, after = line[end : match.start()], line[match.end() : match.end() + 1]
        if before[-1:] != " " and match.start() > 0:
            raise ValueError(f"{place}: no space before {match[0]} in {line!r}.")
        if after.isalnum() or after == "{":
            raise ValueError(f"{place}: {match[0]} must end where a word ends.")
        if before[:-1]:
            yield Segment("text", before[:-1])
        yield _slot(match[1], source, place)
        end = match.end()
    if line[end:]:
        yield Segment("text", line[end:])


def _slot(slot: str, source: Grammar, place: str) -> Segment:
    name, _, pronoun = slot.partition(".")
    if name in CHARACTERS and len(name) == 1:
        character = CHARACTERS.index(name)
        if not pronoun:
            return Segment("name", name, character=character)
        if pronoun in source.pronouns:
            return Segment("pronoun", pronoun, character=character)
        raise ValueError(
            f"{place}: {{{slot}}} is not one of the pronouns {list(source.pronouns)}."
        )
    form, key = "", slot
    if slot.startswith(("a ", "An ")):
        form, key = slot.split(" ", 1)
    elif slot.endswith("+s"):
        form, key = "s", slot[:-2]
    elif slot.startswith("?"):
        form, key = "?", slot[1:]
    elif slot[:1].isupper():
        form, key = "U", slot[0].lower() + slot[1:]
    if key in source.bindings and form != "?":
        return Segment("bound", key, form)
    if key in source.classes:
        return Segment("word", key, form)
    raise ValueError(
        f"{place}: {{{slot}}} is neither a character, a binding nor a class of words."
    )


def _read_plots(source: Grammar, path: Path) -> None:
    for title, lines in _sections(path):
        part, _, name = (text.strip() for text in title.partition(":"))
        place = f"{path.parent.name}/{path.name}, [{title}]"
        if part not in ("opening", "body", "next", "ending") or not lines:
            raise ValueError(f"{place}: a plot is an opening, body, next or ending.")
        beats, opens = [], []
        for where, line in lines:
            for position, word in enumerate(line.split()):
                beat = word.replace("-", " ")
                if beat not in source.beats:
                    raise ValueError(f"{where}: no beat is called {beat!r}.")
                if position == 0:
                    _check_opening(source.beats, beat, where)
                beats.append(beat)
                opens.append(position == 0)
        if any(beats.count(b) > min(MOST_REPEATS, len(source.beats[b])) for b in beats):
            raise ValueError(f"{place}: a beat occurs more than {MOST_REPEATS} times.")
        cast = max(frame.cast for beat in beats for frame in source.beats[beat])
        source.plots.append(StoryPlot(part, name, tuple(beats), tuple(opens), cast))


def _check_opening(
    beats: Mapping[str, tuple[Frame, ...]], beat: str, place: str
) -> None:
    for frame in beats[beat]:
        if not frame.begins_fixed:
            raise ValueError(
                f"{place}: beat {beat!r} cannot open a paragraph, because of its frame "
                f"{frame.text!r}. Put a beat such as 'turn' before it."
            )
