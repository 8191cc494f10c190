"""`python -m synth probe`: what it prints, and what it refuses."""

import json
import shutil

import pytest
import torch

from synth.__main__ import main
from synth.metrics import Measurement, Score, from_line
from synth.probes.probe_files import as_text


def run(capsys, *arguments):
    status = main(["probe", *map(str, arguments)])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_law_of_a_run_as_json(capsys, run_folder):
    status, out, _ = run(
        capsys, "law", run_folder, "--examples", 60, "--json", "--every-step"
    )
    reports = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [report["step"] for report in reports] == [0, 3, 6]
    assert reports[0]["run_id"] == run_folder.name
    fit = reports[-1]["fits"]["head 1"]["residual"]["t+1"]
    assert fit["slope_low"] <= fit["slope"] <= fit["slope_high"]


def test_law_as_tables(capsys, next_token_folder):
    status, out, _ = run(
        capsys, "law", next_token_folder, "--examples", 60, "--norm", "none"
    )
    assert status == 0
    assert "trunk 4" in out
    assert "monotone null" in out
    assert "no state can have a residual t+1 below" in out


def test_law_of_a_language_model(capsys, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    alphabet = {c: i for i, c in enumerate("abcdefgh ")}
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(alphabet, unk_token=" "))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    transformers.PreTrainedTokenizerFast(tokenizer_object=plain).save_pretrained(
        tmp_path
    )
    config = transformers.LlamaConfig(
        vocab_size=9, hidden_size=8, intermediate_size=12, num_hidden_layers=3,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    corpus = tmp_path / "texts.txt"
    corpus.write_text("\n\n".join(["abca bcda", "fghe dcba", "abab abba c"] * 9))
    status, out, _ = run(
        capsys, "law", "--model", tmp_path, "--corpus", corpus, "--json"
    )
    assert status == 0
    report = json.loads(out.splitlines()[-1])
    assert report["paths"]["stack"][-1] == "layer 3 (last)"
    assert report["layers"]["embedding"]["count"] == 9 * (8 + 8 + 10)


def test_choice_points_in_the_long_form(capsys, run_folder):
    status, out, _ = run(
        capsys, "choice-points", run_folder, "--examples", 20,
        "--gradient-examples", 10, "--json",
    )  # fmt: skip
    rows = [from_line(line) for line in out.splitlines()]
    assert status == 0
    assert {row.run_id for row in rows} == {run_folder.name}
    assert {row.step for row in rows} == {6}
    assert {"gradient_share", "divergence", "gap"} <= {row.metric for row in rows}


def test_a_number_of_nothing_has_a_line(capsys):
    row = Measurement.of(Score.mean("test", "gap", "", []), "a-run", 1, 8)
    assert as_text([row]).splitlines()[1].split() == ["test", "gap", "-", "n=0"]


def test_numbers_are_saved_beside_the_run(capsys, next_token_folder):
    folder = next_token_folder
    few = ("--examples", 20, "--save")
    assert run(capsys, "law", folder, *few, "--every-step")[0] == 0
    assert run(capsys, "choice-points", folder, *few, "--gradient-examples", 9)[0] == 0
    rows = [from_line(x) for x in (folder / "probe-law.jsonl").read_text().splitlines()]
    assert {row.step for row in rows} == {0, 3, 6}
    assert {row.tokens for row in rows} == {0, 3 * 4 * 48, 6 * 4 * 48}
    assert {"residual", "fit_slope"} <= {row.metric for row in rows}
    assert (folder / "probe-choice-points.jsonl").stat().st_size


def test_quiet_leaves_the_numbers_in_the_folder_alone(capsys, next_token_folder):
    path = next_token_folder / "probe-law.jsonl"
    path.unlink(missing_ok=True)
    quiet = ("--examples", 20, "--save", "--quiet")
    assert run(capsys, "law", next_token_folder, *quiet) == (0, "", "")
    rows = [from_line(line) for line in path.read_text().splitlines()]
    assert {row.step for row in rows} == {6}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("probe", ["induction", "choice-points", "information"])
def test_a_gpu_that_is_not_there_is_said(capsys, run_folder, probe):
    status, _, err = run(capsys, probe, run_folder, "--device", "cuda")
    assert (status, err) == (
        2,
        "error: device 'cuda': torch finds no GPU here. Use 'cpu'.\n",
    )


def test_information_as_a_table(capsys, source_folder):
    status, out, _ = run(
        capsys, "information", source_folder, "--examples", 20, "--prefixes", 4
    )
    assert status == 0
    assert "mutual_information" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("law",), "either runs or --model"),
        (("law", "--model", "x"), "needs --corpus"),
        (("law", "--model", "x", "--save"), "it needs a run"),
        (("law", "{run}", "--quiet"), "--quiet must be with --save"),
        (("law", "{run}", "--examples", "0"), "--examples must be at least"),
        (("law", "{run}", "--step", "5"), "no checkpoint at step 5"),
        (("law", "{run}", "--step", "3", "--every-step"), "either --step or"),
        (("information", "{run}"), "needs a run on sources"),
        (("information", "{run}", "--prefixes", "0"), "--prefixes must be at least 1"),
        (("choice-points", "{run}/no"), "/no does not exist"),
    ],
)
def test_mistakes_end_in_one_message(capsys, run_folder, arguments, message):
    status, _, err = run(capsys, *(a.format(run=run_folder) for a in arguments))
    assert status == 2
    assert message in err


def test_a_run_that_cannot_be_measured_does_not_stop_the_others(
    capsys, run_folder, next_token_folder, tmp_path
):
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(run_folder / "config.json", empty)
    folders = (run_folder, empty, next_token_folder)
    for probe, *few in (("induction",), ("law", "--examples", 20)):
        status, out, err = run(capsys, probe, *folders, *few, "--save", "--json")
        assert status == 2
        (line,) = err.splitlines()
        assert line.startswith(f"error: {empty} has no checkpoint")
        ids = {json.loads(line)["run_id"] for line in out.splitlines()}
        assert ids == {run_folder.name, next_token_folder.name}
        for folder in folders:
            saved = folder / f"probe-{probe}.jsonl"
            assert saved.exists() == (folder != empty)
            saved.unlink(missing_ok=True)


def test_induction_of_several_runs(capsys, run_folder, next_token_folder):
    """A score a head, saved beside each run; quietly, if only saved numbers matter."""
    folders = (run_folder, next_token_folder)
    status, out, _ = run(capsys, "induction", *folders, "--json")
    assert status == 0
    rows = [from_line(line) for line in out.splitlines()]
    assert {row.run_id for row in rows} == {folder.name for folder in folders}
    assert run(capsys, "induction", *folders, "--save", "--quiet")[1] == ""
    for folder in folders:
        path = folder / "probe-induction.jsonl"
        saved = [from_line(line) for line in path.read_text().splitlines()]
        assert saved == [row for row in rows if row.run_id == folder.name]
        path.unlink()
    assert run(capsys, "induction", run_folder, "--quiet")[0] == 2
    assert run(capsys, "induction")[0] == 2
