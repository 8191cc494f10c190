"""The stories task on the contract of tasks: rows, suites, scores, identity."""

import dataclasses
import hashlib
import json
import multiprocessing

import numpy as np
import pytest

from synth.config import RunConfig
from synth.tasks.mentions import references
from synth.tasks.stories import StoriesConfig
from synth.tasks.task import TokenScores
from synth.tasks.text.names import NameConfig, split_of
from synth.tasks.text.roles import REPEAT_1, REPEAT_2
from synth.tasks.text.story_draws import BOOK, StoryConfig
from synth.tasks.text.vocabularies import TokenizerConfig
from tests.bench.story_variety import variety
from tests.conftest import PATIENCE_S


@pytest.fixture(scope="module")
def task():
    return StoriesConfig().build()


@pytest.fixture(scope="module")
def tales(tmp_path_factory, task):
    """A user's corpus: stories with other names, as JSON lines."""
    path = tmp_path_factory.mktemp("tales") / "tales.jsonl"
    with path.open("w") as file:
        for number, sample in enumerate(task.samples(5, 240)):
            title = "abcdefghijkl"[number % 12] * (number // 12 + 1)
            text = sample.record["text"].replace("\n\n", " ") + "\n\n"
            file.write(json.dumps({"title": title, "text": text * 2}) + "\n")
    return path


def answers(chosen, right):
    """Scores of a model that is right where `right_RT` is true, with loss 1."""
    example = chosen.rows.example_RT
    shape = (1, *example.shape)
    correct, valid = np.zeros(shape, bool), np.zeros(shape, bool)
    correct[0, :, :-1] = right[:, 1:]
    valid[0, :, :-1] = (example[:, 1:] == example[:, :-1]) & (example[:, 1:] > 0)
    return TokenScores(np.ones(shape, np.float32), correct, valid)


def by_name(scores):
    return {(s.metric, s.slice): s for s in scores}


def digest(rows):
    parts = (rows.tokens_RT, rows.example_RT, rows.answer_RT)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def test_rows_depend_on_seed_block_and_context_alone(task):
    first = digest(task.train_rows(3, 5, 128))
    assert digest(StoriesConfig().build().train_rows(3, 5, 128)) == first
    others = [task.train_rows(3, 6, 128), task.train_rows(4, 5, 128)]
    assert first not in {digest(rows) for rows in others}


def _in_a_worker(queue):
    queue.put(digest(StoriesConfig().build().train_rows(3, 5, 128)))


def test_the_same_bytes_in_another_process(task):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    worker = context.Process(target=_in_a_worker, args=(queue,))
    worker.start()
    found = queue.get(timeout=PATIENCE_S)
    worker.join()
    assert found == digest(task.train_rows(3, 5, 128))


def test_answers_are_second_tokens_of_names_said_before(task):
    rows = task.train_rows(0, 0, 256)
    assert 0.02 < rows.answer_RT.mean() < 0.2
    row, at = np.nonzero(rows.answer_RT)
    for r, t in list(zip(row.tolist(), at.tolist(), strict=True))[::37]:
        tokens, example = rows.tokens_RT[r], rows.example_RT[r]
        pair = tokens[t - 1 : t + 1]
        inside = np.flatnonzero(example == example[t])
        before = tokens[inside[0] : t - 1]
        followed = before[1:][before[:-1] == pair[0]]
        assert pair[1] in followed


def test_suites(task):
    sets = {s.suite: s for s in task.evaluation_sets(150)}
    assert list(sets) == ["test", "test_seen", "validation", "training_names"]
    assert [len(s.rows) for s in sets.values()] == [100, 150, 150, 150]
    for s in sets.values():
        assert (s.rows.answer_RT == (s.labels["role_RT"] == REPEAT_2)).all()
        assert s.labels["seen_M"].all() or s.suite in ("test", "validation")


def test_fewer_examples_are_a_prefix(task):
    few = {s.suite: s for s in task.evaluation_sets(30)}
    for s in task.evaluation_sets(120):
        head = len(few[s.suite].rows)
        assert (s.rows.tokens_RT[:head] == few[s.suite].rows.tokens_RT).all()


def names_of(chosen, task):
    role = chosen.labels["role_RT"]
    row, at = np.nonzero(role[:, 1:] == 2)
    tokens = chosen.rows.tokens_RT
    return {
        task.tokenizer.decode(tokens[r, t : t + 2].tolist())[1:]
        for r, t in zip(row, at, strict=True)
    }


def test_names_of_the_tests_never_occur_in_training(task):
    sets = {s.suite: names_of(s, task) for s in task.evaluation_sets(100)}
    assert {split_of(n) for n in sets["test"] | sets["test_seen"]} == {"test"}
    assert {split_of(n) for n in sets["validation"]} == {"validation"}
    assert {split_of(n) for n in sets["training_names"]} == {"train"}
    for config in (StoriesConfig(), StoriesConfig(books_parts=9)):
        rows = config.build().train_rows(0, 0, 256)
        text = task.tokenizer.decode(rows.tokens_RT.ravel().tolist())
        words = {word.strip("\"'.,!?:;<|>") for word in text.split()}
        held = sets["test"] | sets["test_seen"] | sets["validation"]
        assert not held & words


def test_oracle_and_floor(task):
    for chosen in task.evaluation_sets(200):
        found = by_name(task.score(chosen, answers(chosen, chosen.rows.answer_RT)))
        assert found["second_token_oracle", ""].value > 0.99
        assert 0.2 < found["second_token_floor", ""].value < 0.7
        assert 0.4 < found["second_token_majority", ""].value < 0.9


def slow_references(tokens_RT, role_RT, row_M, at_M):
    """Oracle, floor and majority, each from its own words, mention by mention."""
    found = []
    for row, at in zip(row_M.tolist(), at_M.tolist(), strict=True):
        tokens, role = tokens_RT[row].tolist(), role_RT[row].tolist()
        first, wanted, before = tokens[at - 1], tokens[at], range(at - 1)
        follower = next((tokens[t + 1] for t in before[::-1] if tokens[t] == first), -1)
        named = [tokens[t] for t in before if role[t] in (2, REPEAT_2)]
        most = max(map(named.count, named), default=0)
        majority = min((t for t in named if named.count(t) == most), default=-1)
        found.append([follower, named[-1] if named else -1, majority, wanted])
    guesses_MG = np.array(found).reshape(-1, 4)
    return tuple(np.equal(guesses_MG[:, :3], guesses_MG[:, 3:]).T)


def test_the_references_are_what_their_rules_say(task):
    for chosen in task.evaluation_sets(8):
        labels = chosen.labels
        place = labels["row_M"], labels["at_M"]
        found = slow_references(chosen.rows.tokens_RT, labels["role_RT"], *place)
        for name, expected in zip(("oracle", "floor", "majority"), found, strict=True):
            assert np.array_equal(labels[f"{name}_M"], expected)
            assert name == "oracle" or 0 < expected.mean() < 1


def test_the_references_of_rows_that_no_story_has():
    """Few tokens, so that rules tie, are wrong, and find nothing to go by."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        tokens_RT = rng.integers(0, 4, (4, 12))
        role_RT = rng.choice([0, 1, 2, REPEAT_1, REPEAT_2], (4, 12))
        row_M, at_M = rng.integers(0, 4, 20), rng.integers(1, 12, 20)
        found = references(tokens_RT, role_RT, row_M, at_M)
        expected = slow_references(tokens_RT, role_RT, row_M, at_M)
        for one, other in zip(found, expected, strict=True):
            assert np.array_equal(one, other)


def test_guessing_rules_score_nothing_where_none_is_right(task):
    chosen = task.evaluation_sets(100)[0]
    for rule in ("floor_M", "majority_M"):
        right = np.zeros(chosen.rows.answer_RT.shape, bool)
        right[chosen.labels["row_M"], chosen.labels["at_M"]] = chosen.labels[rule]
        found = by_name(task.score(chosen, answers(chosen, right)))
        assert found["second_token_accuracy", "guess=none"].value == 0
        assert found["second_token_accuracy", "guess=none"].count > 100
        name = f"second_token_{rule[:-2]}"
        assert found["second_token_accuracy", ""].value == found[name, ""].value


def test_a_bigram_model_fails_on_held_out_names(task):
    """What follows a first token most often in training is never right."""
    size = len(task.vocabulary)
    follows = np.zeros((size, size), np.int32)
    for block in range(4):
        tokens = task.train_rows(0, block, 256).tokens_RT
        np.add.at(follows, (tokens[:, :-1].ravel(), tokens[:, 1:].ravel()), 1)
    best = follows.argmax(axis=1)
    for chosen in task.evaluation_sets(100):
        if chosen.suite == "training_names":
            continue
        tokens = chosen.rows.tokens_RT
        right = np.zeros(tokens.shape, bool)
        right[:, 1:] = best[tokens[:, :-1]] == tokens[:, 1:]
        found = by_name(task.score(chosen, answers(chosen, right)))
        assert found["second_token_accuracy", ""].value < 0.02


def test_scores_count_what_they_say(task):
    chosen = task.evaluation_sets(60)[0]
    role = chosen.labels["role_RT"]
    every_second = role == REPEAT_2
    found = by_name(task.score(chosen, answers(chosen, every_second)))
    whole = found["second_token_accuracy", ""]
    assert (whole.value, whole.count) == (1.0, every_second.sum())
    assert found["second_token_by_story", ""].value == 1.0
    assert found["first_token_accuracy", ""].value == 0.0
    assert found["second_token_loss", ""].value == 1.0
    assert found["loss", "horizon=1"].value == 1.0
    for family in ("names=", "distance=", "mention=", "tokens="):
        parts = [s for (m, k), s in found.items() if k.startswith(family)]
        assert sum(s.count for s in parts) == whole.count
    firsts = by_name(task.score(chosen, answers(chosen, role == REPEAT_1)))
    assert firsts["first_token_accuracy", ""].value == 1.0
    assert firsts["second_token_accuracy", ""].value == 0.0


def test_a_model_trained_on_answers_has_scores_of_second_tokens_alone(task):
    chosen = task.evaluation_sets(60)[0]
    second_RT = chosen.rows.answer_RT
    whole = answers(chosen, second_RT)
    judged = dataclasses.replace(whole, valid_NRT=whole.valid_NRT & whole.correct_NRT)
    found = by_name(task.score(chosen, judged))
    assert "first_token_accuracy" not in {metric for metric, _ in found}
    assert found["loss", "horizon=1"].count == second_RT.sum()
    assert found["loss_floor", ""].value == 0.0  # repeats are no choice
    every = by_name(task.score(chosen, whole))
    second = "second_token_accuracy", ""
    assert found[second] == every[second]


def test_counts_by_story_make_up_the_scores(task):
    chosen = task.evaluation_sets(120)[1]
    rng = np.random.default_rng(0)
    right = rng.random(chosen.rows.answer_RT.shape) < 0.4
    scores = answers(chosen, right)
    found = by_name(task.score(chosen, scores))
    counts = {c.slice: c for c in task.count_items(chosen, scores)}
    assert set(counts) == {"", "guess=none"}
    for part, one in counts.items():
        whole = found["second_token_accuracy", part]
        assert (one.suite, one.metric) == (chosen.suite, whole.metric)
        assert len(one.right_I) == len(one.number_I) == len(chosen.rows)
        assert one.number_I.sum() == whole.count
        assert one.right_I.sum() / one.number_I.sum() == whole.value
        assert (one.right_I <= one.number_I).all()
    one = counts[""]
    told = one.number_I > 0
    by_story = (one.right_I[told] / one.number_I[told]).mean()
    assert by_story == pytest.approx(found["second_token_by_story", ""].value)


def test_counts_of_many_stories_are_bounded(task, monkeypatch):
    chosen = task.evaluation_sets(100)[1]
    scores = answers(chosen, chosen.rows.answer_RT)
    whole = task.count_items(chosen, scores)[0]
    monkeypatch.setattr("synth.tasks.mentions.MAX_ITEMS", 30)
    few = task.count_items(chosen, scores)[0]
    assert len(few.number_I) == 25  # four neighbours together
    assert few.number_I.tolist() == whole.number_I.reshape(25, 4).sum(1).tolist()
    assert few.right_I.sum() == whole.right_I.sum()


def test_the_standard_error_is_over_stories(task):
    """Stories all right or all wrong: as uncertain as so many coins."""
    chosen = task.evaluation_sets(100)[0]
    right = np.zeros(chosen.rows.answer_RT.shape, bool)
    right[::2] = True
    found = by_name(task.score(chosen, answers(chosen, right)))
    assert found["second_token_stderr", ""].value == pytest.approx(0.05, rel=0.15)


def test_loss_floor_is_below_any_loss_of_the_choices(task):
    plain = {s.suite: s for s in task.evaluation_sets(100)}["training_names"]
    floor = by_name(task.score(plain, answers(plain, plain.rows.answer_RT)))
    nats = floor["loss_floor", ""].value
    assert 0.6 < nats < 1.2
    # Repeated mentions cost nothing: the generator had no choice there.
    repeat = np.isin(plain.labels["role_RT"], (REPEAT_2,))
    assert plain.labels["nats_RT"][repeat].max() == 0
    assert plain.labels["nats_RT"][plain.labels["role_RT"] == 2].mean() > 4


def test_samples(task):
    few, more = task.samples(7, 2), task.samples(7, 5)
    assert [s.record for s in more[:2]] == [s.record for s in few]
    for sample in more:
        record = sample.record
        assert set(record) == {"text", "tokens", "roles", "names", "split"}
        assert len(record["tokens"]) == len(record["roles"]) == len(sample.tokens)
        assert set(record["roles"]) == {0, 1, 2, 3, 4}
        assert all(record["text"].count(name) > 1 for name in record["names"])
        assert sample.text.count("*]") == record["roles"].count(4)
        assert json.loads(json.dumps(record)) == record
    held = task.samples(7, 5, split="test")
    assert all(split_of(n) == "test" for s in held for n in s.record["names"])
    stories = set()
    for split in ("train", "validation", "test"):
        (sample,) = task.samples(7, 1, split=split)
        story = sample.record["text"]
        for name in sample.record["names"]:
            story = story.replace(name, "_")
        stories.add(story)
    assert len(stories) == 3, "not one story with other names"


@pytest.mark.parametrize(
    ("profile", "p_open"),
    [
        ("story", 1.0),
        pytest.param("story", 0.0, marks=pytest.mark.slow),
        pytest.param("book", 1.0, marks=pytest.mark.slow),
    ],
)
def test_variety(profile, p_open):
    config = StoriesConfig(
        story=StoryConfig(profile=profile), names=NameConfig(p_open=p_open)
    )
    task = config.build()
    found = variety([str(s.record["text"]) for s in task.samples(0, 1800)])
    assert found.characters > 1.8e6
    assert found.once_8 >= 0.95
    chosen = {s.suite: s for s in task.evaluation_sets(200)}["training_names"]
    bits = chosen.labels["nats_RT"].sum(axis=1).mean() / np.log(2)
    assert bits >= 300


def test_the_report_counts_the_names_of_the_tests_and_their_pieces(task):
    found = task.report()
    names = task.names.any("test").tokens_P2.tolist()
    assert found["test_names"] == len(names)
    assert found["test_first_tokens"] == len({first for first, _ in names})
    assert found["test_second_tokens"] == len({second for _, second in names})
    often = set(np.flatnonzero(task._seen_V).tolist())
    unseen = sum(not often.issuperset(pair) for pair in names)
    assert found["unseen_share"] == pytest.approx(unseen / len(names))


def test_closed_names_are_few_and_the_mixture_holds_both():
    closed = StoriesConfig(names=NameConfig(p_open=0.0, closed_names=32)).build()
    assert closed.report()["training_names"] == 32
    mixed = StoriesConfig(names=NameConfig(p_open=0.25, closed_names=32)).build()
    few = set(closed.names.training.text)
    of_list = [set(s.record["names"]) <= few for s in mixed.samples(0, 400)]
    assert np.mean(of_list) == pytest.approx(0.75, abs=0.08)


def test_the_mixture_with_books_is_exact():
    config = StoriesConfig(books_parts=9)
    rows = config.build().train_rows(0, 0, 256)
    assert len(rows) % 10 == 0
    alone = StoriesConfig().build()._text.source.windows(0, 0, len(rows) // 10, 256)
    stories = {row.tobytes() for row in alone.tokens_RT.astype(rows.tokens_RT.dtype)}
    of_stories = [row.tobytes() in stories for row in rows.tokens_RT]
    assert [sum(of_stories[i : i + 10]) for i in range(0, len(rows), 10)] == [1] * (
        len(rows) // 10
    )
    assert BOOK.episodes > 1


def test_fixed_stories_recur(task):
    config = StoriesConfig(fixed_stories=50)
    fixed = config.build()
    texts = [fixed.train_rows(0, block, 128).tokens_RT for block in range(2)]
    seen = {row.tobytes() for row in texts[0][:, :32]}
    assert len(seen) <= len(texts[0])
    assert np.unique(texts[0]).tolist() == np.unique(texts[1]).tolist()


def run_id(task):
    return RunConfig(task=task).run_id


def test_a_corpus_is_identified_by_its_content(tales, tmp_path):
    moved = tmp_path / "elsewhere.jsonl"
    moved.write_bytes(tales.read_bytes())
    one, two = StoriesConfig(corpus=str(tales)), StoriesConfig(corpus=str(moved))
    assert one.corpus_digest == hashlib.sha256(tales.read_bytes()).hexdigest()
    assert run_id(one) == run_id(two)
    assert one.to_dict()["corpus"] == str(tales)
    moved.write_bytes(tales.read_bytes() + b"\n")
    assert run_id(StoriesConfig(corpus=str(moved))) != run_id(one)
    read = RunConfig.from_dict(RunConfig(task=two).to_dict())  # as it was stored
    assert read.run_id == run_id(one)
    with pytest.raises(ValueError, match=r"elsewhere\.jsonl' was changed"):
        read.build_task()
    assert dataclasses.replace(two, corpus=str(tales)).build()


def test_a_stored_configuration_is_read_without_its_corpus(tales, tmp_path):
    moved = tmp_path / "gone.jsonl"
    moved.write_bytes(tales.read_bytes())
    stored = RunConfig(task=StoriesConfig(corpus=str(moved))).to_dict()
    moved.unlink()
    read = RunConfig.from_dict(json.loads(json.dumps(stored)))
    assert read.run_id == run_id(StoriesConfig(corpus=str(tales)))
    with pytest.raises(ValueError, match="does not exist here"):
        read.task.build()
    with pytest.raises(ValueError, match="does not exist"):
        StoriesConfig(corpus=str(moved))


def test_the_words_are_part_of_the_identity():
    config = StoriesConfig()
    changed = dataclasses.replace(config, grammar_digest="0" * 64)
    assert run_id(config) != run_id(changed)
    with pytest.raises(ValueError, match="have changed since"):
        changed.build()


def test_every_knob_changes_the_identity():
    base = StoriesConfig()
    others = [
        StoriesConfig(story=StoryConfig(asides=1)),
        StoriesConfig(names=NameConfig(p_open=0.5)),
        StoriesConfig(names=NameConfig(p_open=0.5, zipf=1.0)),
        StoriesConfig(tokenizer=TokenizerConfig(vocab_size=4096)),
        StoriesConfig(fixed_stories=10),
        StoriesConfig(books_parts=9),
        StoriesConfig(evaluation_length=256),
    ]
    assert len({run_id(c) for c in [base, *others]}) == len(others) + 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"names": NameConfig(zipf=1.0)}, "NameConfig.zipf must be 0 with p_open 1"),
        (
            {"names": NameConfig(p_open=0.0, open_names=50)},
            "NameConfig.open_names must be 0 with p_open 0",
        ),
        (
            {"stories_parts": 0, "books_parts": 1, "fixed_stories": 9},
            "fixed_stories must be 0 with stories_parts 0",
        ),
        ({"field": "body"}, "StoriesConfig.field must be left out without corpus"),
        ({"books_field": "body"}, "books_field must be left out without books"),
        ({"corpus": True, "story": StoryConfig(asides=2)}, "story must be left at"),
        ({"corpus": True, "names": NameConfig(p_open=0.5)}, "names must be left at"),
    ],
)
def test_settings_that_nothing_reads_are_refused(tales, fields, words):
    if "corpus" in fields:
        fields = fields | {"corpus": str(tales)}
    with pytest.raises(ValueError, match=words):
        StoriesConfig(**fields)
    stored = StoriesConfig(corpus=fields.get("corpus", "")).grammar_digest
    StoriesConfig(**fields, grammar_digest=stored)  # of a run that was made before


def test_a_users_corpus(tales):
    config = StoriesConfig(corpus=str(tales))
    task = config.build()
    rows = task.train_rows(0, 0, 64)
    assert not rows.answer_RT.any()  # names in training text stay as they are
    sets = {s.suite: s for s in task.evaluation_sets(40)}
    assert set(sets) >= {"test", "validation", "plain"}
    assert sets["test"].rows.answer_RT.any()
    few = {s.suite: len(s.rows) for s in task.evaluation_sets(3)}
    assert few["plain"] == 3 < len(sets["plain"].rows)
    assert task.evaluation_sets(0) == []
    found = by_name(
        task.score(sets["test"], answers(sets["test"], sets["test"].rows.answer_RT))
    )
    assert found["second_token_accuracy", ""].value == 1.0
    assert found["second_token_oracle", ""].value > 0.9
    plain = sets["plain"]
    found = by_name(task.score(plain, answers(plain, plain.rows.answer_RT)))
    assert found.keys() >= {("loss", "horizon=1"), ("accuracy", "horizon=1,position=2")}
    assert {metric for metric, _ in found} == {"loss", "accuracy"}
    for sample in task.samples(0, 10):
        *body, _ = sample.record["tokens"]
        assert task.tokenizer.encode(sample.record["text"]) == body
    assert task.report()["stories"]["leakage"]["duplicates"] == 0


def test_given_files_are_read_or_refused(tales):
    with pytest.raises(ValueError, match="fixed_stories is for generated stories"):
        StoriesConfig(corpus=str(tales), fixed_stories=9)
    with pytest.raises(ValueError, match="books_parts must be at least 1 when books"):
        StoriesConfig(books=str(tales))
    assert StoriesConfig(reading="as before").reading == "as before"


def test_a_corpus_of_too_few_documents_says_so(task, tmp_path):
    path = tmp_path / "three.jsonl"
    titles = ("One", "Two", "Three")
    texts = [sample.record["text"] for sample in task.samples(5, 3)]
    rows = [
        {"title": title, "text": text}
        for title, text in zip(titles, texts, strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    few = StoriesConfig(corpus=str(path)).build()
    with pytest.raises(ValueError, match=r"'test': 0.* give one long .txt"):
        few.evaluation_sets(10)


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_corpus_is_refused(tmp_path, content):
    path = tmp_path / "empty.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"empty\.txt' holds no text"):
        StoriesConfig(corpus=str(path)).build()


def test_a_users_tokeniser(task, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(task.tokenizer.stored)
    chosen = TokenizerConfig(tokens="file", tokenizer_file=str(path))
    own = StoriesConfig(tokenizer=chosen).build()
    assert own.vocabulary == task.vocabulary
    assert (
        own.train_rows(0, 0, 64).tokens_RT == task.train_rows(0, 0, 64).tokens_RT
    ).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stories_parts": 0}, "stories_parts must be at least 1 if books_parts is 0"),
        ({"fixed_stories": -1}, "fixed_stories must be from 0 to 67108864; got -1"),
        ({"corpus": "/nowhere.txt"}, "does not exist"),
        ({"tokenizer": TokenizerConfig(tokens="characters")}, "no names of two tokens"),
        ({"evaluation_length": 4}, "from 16 to 65536"),
    ],
)
def test_refuses_impossible_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        StoriesConfig(**changes)


def test_stories_cut_before_a_name_comes_again_are_refused():
    with pytest.raises(ValueError, match="evaluation_length 16 cuts every test story"):
        StoriesConfig(evaluation_length=16).build().evaluation_sets(5)


def test_too_many_closed_names_are_refused():
    names = NameConfig(p_open=0.0, closed_names=1000, first_pieces=4, second_pieces=8)
    with pytest.raises(ValueError, match="closed_names must be below"):
        StoriesConfig(names=names).build().train_rows(0, 0, 64)
