"""Wrong input of a user: every command answers with one plain line and status 2."""

import polars as pl
import pytest

from analysis.__main__ import main

METRIC_COMMANDS = ("plot", "compare", "events", "noise", "scaling")


@pytest.fixture(scope="module")
def tables(results, tmp_path_factory):
    """A folder of tables with one fault each, and other things that are no sweep."""
    folder = tmp_path_factory.mktemp("wrong")
    good = pl.read_parquet(results / "p.parquet").filter(
        pl.col("pause_tokens") == 0, pl.col("scale") == "10k"
    )
    first = pl.col("run_id") == good["run_id"][0]
    faulty = {
        "good": good,
        "no-rows": good.clear(),
        "one-run": good.filter(first),
        "nan": good.with_columns(value=pl.lit(float("nan"))),
        "failed": good.with_columns(state=pl.lit("failed")),
        "no-config": good.with_columns(config=pl.lit(None, pl.String())),
        "bad-config": good.with_columns(config=pl.lit("{nope")),
        "other": pl.DataFrame({"a": [1]}),
    }
    for name, table in faulty.items():
        table.write_parquet(folder / f"{name}.parquet")
    (folder / "text.parquet").write_text("hello")
    (folder / "file").write_text("hello")
    (folder / "empty").mkdir()
    (folder / "damaged").mkdir()
    (folder / "damaged" / "text.parquet").write_text("hello")
    return folder


@pytest.mark.parametrize("command", METRIC_COMMANDS)
@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ("nothere", "/nothere does not exist."),
        ("", "'' is neither a table in"),
        ("empty", "has no run: no folder in it has a config.json"),
        ("damaged", "text.parquet is no table of a sweep (parquet: "),
        ("text.parquet", "is no table of a sweep (parquet: "),
        ("other.parquet", "is no table of a sweep (it has no column 'sweep')"),
        ("bad-config.parquet", "is no table of a sweep (Expecting property name"),
        ("no-rows.parquet", "no finished run: there are no runs"),
        ("failed.parquet", "no finished run: 10 failed"),
        ("no-config.parquet", "configurations of finished runs could not be read"),
        ("nan.parquet", "measured 'exact_match'. They end without any finite value."),
    ],
)
def test_a_sweep_that_cannot_be_read(tables, command, sweep, said, refused):
    where = ["--results", str(tables)]
    assert said in refused(command, str(tables / sweep) if sweep else "", *where)


@pytest.mark.parametrize("command", METRIC_COMMANDS)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--metric exact_mach", "measured 'exact_mach'. Did you mean 'exact_match'?"),
        ("--metric indomain/exact_match", "on 'indomain'. Did you mean 'in_domain'?"),
        ("--metric in_domain/exact_match/m=1", "exact_match has no slice 'm=1'. Write"),
        ("--metric /", "No finished run has measured ''. Known: exact_match"),
        ("--where tree", "--where takes FIELD=VALUE; got 'tree'."),
        ("--where tree=bush", "No finished run has tree=bush. Values here: split."),
        ("--where no=1", "No field is called 'no'."),
        ("--json --csv", "--json and --csv exclude each other."),
    ],
)
def test_words_that_no_run_has(tables, command, words, said, refused):
    assert said in refused(command, str(tables / "good.parquet"), *words.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("plot good --x value", "No field is called 'value'. Nearest: scale."),
        ("plot good --hue seed", "seed differs between the runs of one cell"),
        ("plot good --figures file", "file: File exists. Choose another name"),
        ("plot good --hue tokens", "--hue tokens is not a field of a run"),
        ("compare one-run", "All finished runs have arm=n1: there is nothing"),
        ("compare good --baseline n9", "No finished run has arm=n9 as a baseline."),
        (
            "compare good --vary operations",
            "--vary operations: runs of one task do not",
        ),
        ("compare good --beside suite", "--beside suite: runs of one task do not"),
        ("compare good --beside operations", "--beside operations: runs of one task"),
        (
            "noise good --baseline n9",
            "baseline must be an arm of the runs: n1, n2; got",
        ),
        ("noise good --decisions", "Train the same arms at two sizes or more."),
        ("events good --in-a-row 0", "in_a_row must be at least 1; got 0."),
        ("events good --level nan", "level must be finite; got nan."),
        ("scaling good --x flops", "n1; polynomial, n2: A power law needs at least 5"),
        (
            "scaling good --metric loss",
            "n1; polynomial, n2: A power law needs at least",
        ),
        ("learned no-rows", "no finished run: there are no runs"),
        ("learned good --in-a-row 0", "in_a_row must be at least 1; got 0."),
        ("merge good --to x", "merge takes two tables or more"),
        ("merge good text.parquet --to x", "is no table of a sweep"),
        ("merge good one-run --to nan", "nan.parquet exists. Name it among the tables"),
        ("claims C99", "No claim 'C99'. Did you mean 'C9'?"),
        ("figures layer-lav", "No figure 'layer-lav'. Did you mean 'layer-law'?"),
        ("beside star", "No published table 'star'."),
        (
            "notebooks good --to x.txt",
            "--to must be a path that ends in .ipynb; got 'x",
        ),
        ("notebooks --to x.ipynb", "--to must be given with SWEEP; got 'x.ipynb'."),
        ("notebooks nothere", "'nothere' is neither a table in"),
        ("attention nothere", "'nothere' fits no run below runs."),
        ("collect --runs empty", "Train one first: python -m sweeps run quick."),
        ("quick --runs empty", "empty holds none of quick, repeats, choices"),
    ],
)
def test_each_command(tables, words, said, refused, monkeypatch):
    monkeypatch.chdir(tables)
    without_tables = ("attention", "collect", "quick")
    where = [] if words.startswith(without_tables) else ["--results", str(tables)]
    assert said in refused(*words.split(), *where)


@pytest.mark.parametrize("command", ["claims", "figures", "report", "beside"])
@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("empty", "holds no table. Collect a sweep"),
        ("damaged", "is no table of a sweep"),
    ],
)
def test_a_folder_without_tables(tables, command, folder, said, refused):
    assert said in refused(command, "--results", str(tables / folder))


@pytest.fixture
def refused(capsys):
    """Call a command that refuses; its message, which is one line."""

    def call(*words):
        assert main(list(words)) == 2, capsys.readouterr().out
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1
        return printed.err

    return call
