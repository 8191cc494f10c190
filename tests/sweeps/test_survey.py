"""What folders say, whatever happened to them; and folders that sweeps share."""

import json
import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from slurm.job_record import JobRecord, write_record
from sweeps.__main__ import main
from sweeps.commands import PlanCommand, RunCommand, format_plan
from sweeps.inline import InThisProcess
from sweeps.inspection import Show, Status
from sweeps.launch import LaunchOptions, launch
from sweeps.launch_display import Display
from sweeps.next_commands import next_commands
from sweeps.provenance import TypedCommand, commands_of
from sweeps.selected_runs import SelectedRuns
from sweeps.sharing import link_shared, mark_shared
from sweeps.survey import last_metrics, survey
from sweeps.sweep_lookup import find_sweep
from synth.run.execution import Execution
from synth.run.states import NOT_DONE
from synth.run.store import RunFolder
from synth.training import train
from tests.conftest import tiny_run
from tests.sweeps.conftest import call

OFTEN = Execution(checkpoint_every_seconds=0.0)


def go(configs, root, **options):
    """A launch in this process."""
    return launch(
        "mine",
        configs,
        root,
        InThisProcess(),
        LaunchOptions(execution=OFTEN, **options),
        Display(quiet=True),
        "in_domain/exact_match",
    )


def test_states_of_a_sweep(tmp_path):
    new, stopped, failed, done, busy = configs = [tiny_run(seed=s) for s in range(5)]
    train([done], tmp_path)
    for config in (stopped, failed, busy):
        RunFolder(tmp_path, config.run_id).open(config)
    record = {"message": "ValueError: at step 12 it broke\nmore"}
    RunFolder(tmp_path, failed.run_id).write_json("failure.json", record)
    with RunFolder(tmp_path, busy.run_id).claim():
        found = survey(tmp_path, configs)
    states = [run.state for run in found.runs]
    assert states == ["new", "stopped", "failed", "done", "running"]
    assert found.first_error.run_id == failed.run_id
    assert list(found.errors()) == ["ValueError: at step # it broke"]
    assert found.ids("new", "done") == {new.run_id, done.run_id}
    # Without the sweep's file, the folders alone.
    assert survey(tmp_path).counts == {"stopped": 2, "failed": 1, "done": 1}
    assert survey(tmp_path / "nowhere").runs == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{ torn", "config.json is not valid JSON"),
        ("config.json", '{"config": {"task": 3}}', "changed after it was written"),
        ("failure.json", '{"mess', "failure.json is not valid JSON"),
        ("failure.json", "[]", "must hold a JSON object"),
    ],
)
def test_damaged_files_are_named_and_nothing_is_lost(tmp_path, name, content, message):
    config = tiny_run()
    folder = RunFolder(tmp_path, config.run_id)
    folder.open(config)
    (folder.path / name).write_text(content)
    found = survey(tmp_path, [config])
    assert message in found.runs[0].error
    assert (folder.path / name).read_text() == content


def test_a_config_edited_by_hand_is_refused_and_kept(tmp_path):
    edited, other = tiny_run(seed=0), tiny_run(seed=1)
    folder = RunFolder(tmp_path, edited.run_id)
    folder.open(edited)
    stored = folder.read_json("config.json")
    stored["config"]["training"]["learning_rate"] = 1.0
    folder.write_json("config.json", stored)
    assert "changed after it was written" in survey(tmp_path, [edited]).runs[0].error
    outcomes = {o.run_id: o for o in go([edited, other], tmp_path)}
    assert outcomes[edited.run_id].state == "failed"
    assert "Move the folder away" in outcomes[edited.run_id].message
    assert outcomes[other.run_id].state == "done"
    assert folder.read_json("config.json") == stored


def test_a_damaged_checkpoint_is_passed_over_or_named(tmp_path):
    config = tiny_run(steps=12)
    train([config], tmp_path / "calm", OFTEN)
    expected = (tmp_path / "calm" / config.run_id / "metrics.jsonl").read_bytes()
    root = tmp_path / "torn"
    folder = RunFolder(root, config.run_id)
    kept = Execution(checkpoint_every_seconds=0.0, keep_checkpoints_every_steps=0)
    _stop_at(config, root, kept, 8)
    newest, *_ = sorted(folder.checkpoints.glob("step-*"), reverse=True)
    weights = newest / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7] + b"damaged")
    assert [o.state for o in go([config], root)] == ["done"]
    assert folder.metrics_path.read_bytes() == expected
    root = tmp_path / "lost"
    folder = RunFolder(root, config.run_id)
    _stop_at(config, root, kept, 8)
    for weights in folder.checkpoints.glob("step-*/weights.safetensors"):
        weights.write_bytes(b"")
    (outcome,) = go([config], root)
    assert outcome.state == "failed"
    assert "Remove" in outcome.message
    assert survey(root, [config]).runs[0].error == outcome.message


def _stop_at(config, root, execution, step):
    """Train until a signal comes at a step."""
    import signal

    def stop(event):
        if event.kind == "training" and event.step >= step:
            signal.raise_signal(signal.SIGTERM)

    import dataclasses

    often = dataclasses.replace(execution, log_every_seconds=0.0)
    (outcome,) = train([config], root, often, stop)
    assert outcome.state == "stopped"


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small tmpfs: needs root")
def test_a_full_disk_is_named_and_gone_on_from(tmp_path):
    config = tiny_run(scale="d32-L4-h2")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (outcome,) = train([config], disk)
        assert outcome.state == "failed"
        assert "No space left" in outcome.message or "write" in outcome.message
        grow = ["mount", "-o", "remount,size=20m", str(disk)]
        subprocess.run(grow, check=True)
        assert survey(disk, [config]).runs[0].state in ("failed", "stopped")
        (outcome,) = go([config], disk, states=NOT_DONE)
        assert outcome.state == "done", outcome
        train([config], tmp_path / "calm")
        expected = tmp_path / "calm" / config.run_id / "metrics.jsonl"
        found = disk / config.run_id / "metrics.jsonl"
        assert found.read_bytes() == expected.read_bytes()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    """As an ordinary user: root may write anywhere."""
    root = tmp_path / "locked"
    root.mkdir(mode=0o555)
    config = tiny_run()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        if os.getuid() == 0:
            os.setgroups([])
            os.setuid(65534)
        message = "none"
        try:
            RunFolder(root, config.run_id).open(config)
        except OSError as error:
            message = str(error)
        os.write(write, message.encode())
        os._exit(0)
    os.waitpid(child, 0)
    message = os.read(read, 1000).decode()
    os.close(read)
    os.close(write)
    assert "Permission denied" in message
    assert config.run_id in message


def test_sweeps_share_the_runs_that_both_have(tmp_path):
    first, both, second = (tiny_run(seed=seed) for seed in range(3))
    go([first, both], tmp_path / "one")
    root = tmp_path / "two"
    outcomes = go([both, second], root)
    assert [outcome.run_id for outcome in outcomes] == [second.run_id]
    assert (root / both.run_id).is_symlink()
    assert survey(root, [both, second]).counts == {"done": 2}
    assert link_shared([both, second], root) == 0
    # The other sweep's folder is removed: the run is trained here.
    subprocess.run(["rm", "-r", str(tmp_path / "one")], check=True)
    assert [o.state for o in go([both, second], root)] == ["done"]
    assert not (root / both.run_id).is_symlink()


def test_a_run_that_only_waits_in_a_queue_is_not_shared(tmp_path):
    """Its folder holds the record of its job and nothing else."""
    config = tiny_run()
    record = JobRecord("launch", 0, "12", "private", 0.0)
    (tmp_path / "one" / config.run_id).mkdir(parents=True)
    write_record(tmp_path / "one", config.run_id, record)
    root = tmp_path / "two"
    assert link_shared([config], root) == 0
    (found,) = mark_shared(survey(root, [config]), [config]).runs
    assert found.state == "new"


def test_a_plan_knows_the_runs_that_a_launch_would_link(tmp_path):
    both, second = tiny_run(seed=1), tiny_run(seed=2)
    RunFolder(tmp_path / "one", both.run_id).open(both)
    root = tmp_path / "two"
    found = mark_shared(survey(root, [both, second]), [both, second])
    assert [run.state for run in found.runs] == ["stopped", "new"]
    command = PlanCommand(sweep="two", json=True)
    selected = SelectedRuns("", [both, second], root, "two")
    planned = json.loads(format_plan(command, selected, NOT_DONE))
    assert planned["counts"] == {"new": 1, "stopped": 1}
    assert not root.exists()


def test_status_knows_the_runs_that_a_launch_would_link(sweep_file, tmp_path):
    """What it tells to type works before they are linked."""
    path = sweep_file(seeds=1, layers=(3,))
    first, second = find_sweep(str(path))("quick")
    train([first], tmp_path / "runs/other")
    folder = RunFolder(tmp_path / "runs/other", second.run_id)
    folder.open(second)
    folder.write_json("failure.json", {"message": "ValueError: broken"})
    shown = call("status", path, cwd=tmp_path)
    assert "2 runs: 1 done, 1 failed" in shown
    (details,) = (line for line in shown.splitlines() if "details: " in line)
    words = shlex.split(details.partition("python -m sweeps ")[2])
    assert words[:2] == ["show", second.run_id]
    assert "ValueError: broken" in call(*words, cwd=tmp_path)
    retry = f"retry {path}"
    assert f"next: python -m sweeps {retry}\n" in shown
    done = call(*retry.split(), "--workers", 0, cwd=tmp_path)
    assert "1 done, in runs/depths-quick" in done


def test_status_and_show_name_the_next_step(tmp_path, capsys):
    config = tiny_run()
    train([config], tmp_path / "mine")
    assert Status(runs=tmp_path).run() == 0
    assert "mine: 1 runs: 1 done" in capsys.readouterr().out
    assert Status(runs=tmp_path / "mine").run() == 0  # single runs lie in no sweep
    assert "mine: 1 runs: 1 done" in capsys.readouterr().out
    assert Status(sweep=str(tmp_path / "mine"), json=True).run() == 0
    assert json.loads(capsys.readouterr().out)[0]["counts"]["done"] == 1
    assert Show(name=config.run_id[:20], runs=tmp_path).run() == 0
    text = capsys.readouterr().out
    for word in (config.run_id, "done", "in_domain/exact_match", "learning_rate 0.003"):
        assert word in text
    assert Show(name=config.run_id, runs=tmp_path, json=True).run() == 0
    found = json.loads(capsys.readouterr().out)
    assert found["config"] == config.to_dict()
    assert found["metrics"] == last_metrics(RunFolder(tmp_path / "mine", config.run_id))
    with pytest.raises(
        ValueError, match=r"fits no run below .*--runs FOLDER searches another"
    ):
        Show(name="polynomial-n7", runs=tmp_path).run()


def test_shared_runs_are_found_wherever_the_folder_really_lies(tmp_path):
    """`runs/two` is a link to another disk; a neighbour may not be read."""
    config = tiny_run()
    runs = tmp_path / "runs"
    go([config], runs / "one")
    (tmp_path / "disk/far/two").mkdir(parents=True)
    (runs / "two").symlink_to(tmp_path / "disk/far/two")
    assert link_shared([config], runs / "two") == 1
    assert survey(runs / "two", [config]).counts == {"done": 1}
    assert go([config], runs / "two") == []
    # Told apart from itself under another name.
    (runs / "alias").symlink_to(runs / "one")
    assert link_shared([config], runs / "alias") == 0


@pytest.mark.parametrize("name", ["", "*", "[a", "a*/b", "ünknown"])
def test_odd_names_fit_no_run(tmp_path, name):
    with pytest.raises(ValueError, match=r"fits no run below"):
        Show(name=name, runs=tmp_path).run()


@pytest.mark.parametrize("verb", ["tune", "search"])
def test_a_folder_of_runs_is_not_tuned(tmp_path, verb, capsys):
    RunFolder(tmp_path / "mine", tiny_run().run_id).open(tiny_run())
    assert main([verb, str(tmp_path / "mine")]) == 2
    assert "SWEEP must be a sweep or a file with one, not a" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"mine"}


def test_an_empty_name_is_no_folder_and_an_empty_folder_has_no_runs(tmp_path, capsys):
    assert main(["status", ""]) == 2
    assert "No sweep is called ''" in capsys.readouterr().err
    assert main(["status", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path.name}: no runs  ({tmp_path})\n"


@pytest.mark.parametrize("name", ["/nope", "a/b", "../x", "./ü n"])
@pytest.mark.parametrize("verb", ["status", "retry", "plan", "tune", "show"])
def test_a_path_to_nothing_is_called_so(name, verb, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([verb, name]) == 2
    assert capsys.readouterr().err == f"error: The folder {name} does not exist.\n"


def test_a_folder_with_the_name_of_a_sweep_does_not_hide_it(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick").mkdir()
    assert Status(sweep="quick").run() == 0
    out = capsys.readouterr().out
    assert "new" in out
    assert "next: python -m sweeps run quick" in out


def test_status_of_a_sweep_goes_on_with_what_it_was_asked_about(
    tmp_path, monkeypatch, capsys
):
    """The last launch took one arm of it, on a cluster."""
    monkeypatch.chdir(tmp_path)
    how = "--on slurm --profile 'my own.toml' --again"
    TypedCommand("run", f"quick --arms n1 {how}").save(Path("runs/quick"))
    assert Status(sweep="quick").run() == 0
    assert f"next: python -m sweeps run quick {how}\n" in capsys.readouterr().out
    assert Status(sweep="quick", arms=("n2",), json=True).run() == 0
    (block,) = json.loads(capsys.readouterr().out)
    assert block["next"] == f"python -m sweeps run quick --arms n2 {how}"


def test_the_next_command_can_be_typed(tmp_path):
    """Blanks in paths are quoted; what launched the folder is remembered."""
    from sweeps.commands import SweepSelection

    words = SweepSelection(
        sweep="my sweep.py", runs=tmp_path / "a b", scale="quick"
    ).words()
    assert shlex.split(words)[0] == "my sweep.py"
    assert shlex.split(words)[-1] == str(tmp_path / "a b")
    config = tiny_run()
    RunFolder(tmp_path, config.run_id).open(config)
    found = survey(tmp_path)
    assert next_commands(found, []) == [f"python -m sweeps run {tmp_path}"]
    blank = replace(found, root=Path("a b"))
    assert next_commands(blank, []) == ["python -m sweeps run 'a b'"]
    for verb in ("run", "tune"):
        TypedCommand(verb, words).save(tmp_path)
        first, *_ = next_commands(found, commands_of(tmp_path))
        assert first.endswith(f"{verb} {words}")
    moved = tmp_path / "moved here"
    (moved / ".sweep").mkdir(parents=True)
    (tmp_path / ".sweep/typed.json").rename(moved / ".sweep/typed.json")
    assert commands_of(moved) == [TypedCommand("run", f"'{moved}'")]
    typed = tmp_path / ".sweep/typed.json"
    typed.write_text('{"verb": "run", "words": "x"}')  # by an earlier version
    assert commands_of(tmp_path) == [TypedCommand("run", "x")]
    typed.write_text("[]")
    assert commands_of(tmp_path) == []


def test_status_of_a_folder_knows_all_its_launches(tmp_path, capsys):
    """Each trained other runs of one sweep; what is missing may be any launch's."""
    RunFolder(tmp_path, tiny_run().run_id).open(tiny_run())

    def status():
        """The last lines, after that of the states."""
        assert Status(sweep=str(tmp_path)).run() == 0
        return capsys.readouterr().out.splitlines()[1:]

    one, two = (f"star --where degree={n}" for n in (2, 3))
    for words in (one, two, one):
        TypedCommand("tune", words).save(tmp_path)
    assert status() == [
        f"  next: python -m sweeps tune {one}",
        f"  or, for the runs of another launch: python -m sweeps tune {two}",
    ]
    assert Status(sweep=str(tmp_path), json=True).run() == 0
    (block,) = json.loads(capsys.readouterr().out)
    assert block["next"] == f"python -m sweeps tune {one}"
    assert block["or"] == [f"python -m sweeps tune {two}"]
    # Of `run`, the folder stands for the runs of all.
    (tmp_path / ".sweep/typed.json").unlink()
    for words in (one, f"{one} --workers 1"):
        TypedCommand("run", words).save(tmp_path)
    assert status() == [f"  next: python -m sweeps run {one} --workers 1"]
    TypedCommand("run", f"{two} --lanes 2").save(tmp_path)
    assert status() == [f"  next: python -m sweeps run {tmp_path} --lanes 2"]


def test_folders_of_older_code_stay_readable(tmp_path, capsys):
    """Fields that this code does not know, or files that it would write otherwise."""
    folder = tmp_path / "mine/polynomial-n1-old-s0-00000000"
    folder.mkdir(parents=True)
    config = {"task": {"kind": "abolished", "version": 0}, "colour": "blue", "seed": 3}
    (folder / "config.json").write_text(json.dumps({"config": config}))
    (folder / "result.json").write_text('{"headline": {"in_domain/accuracy": 0.5}}')
    assert survey(tmp_path / "mine").counts == {"done": 1}
    assert Status(runs=tmp_path).run() == 0
    assert Show(name=str(folder)).run() == 0
    assert "in_domain/accuracy" in capsys.readouterr().out
    said = f"1 finished run is left out, first {folder.name}: "
    said += "No task is called 'abolished'"
    with pytest.raises(ValueError, match=said):
        RunCommand(sweep=str(folder.parent)).run()
    train([tiny_run()], folder.parent)
    assert RunCommand(sweep=str(folder.parent)).run() == 0
    captured = capsys.readouterr()
    assert captured.err.startswith(said)
    assert captured.out.startswith("1 runs, all done before")


def test_links_that_lead_nowhere_are_no_runs_and_stop_nobody(tmp_path):
    """Folders that were removed leave links behind, in both directions."""
    config = tiny_run()
    one, two = tmp_path / "one", tmp_path / "two"
    train([config], one)
    two.mkdir()
    for name, target in (
        (config.run_id, "../gone/run"),
        ("loop", "loop"),
        ("gone", "/nowhere/at/all"),
    ):
        (two / name).symlink_to(target)
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "same").symlink_to("one")
    assert survey(two).runs == []
    assert survey(two, [config]).counts == {"new": 1}
    assert Status(runs=tmp_path).run() == 0
    assert link_shared([config], two) == 1
    assert survey(two, [config]).counts == {"done": 1}
    (two / config.run_id).unlink()
    (two / config.run_id).symlink_to(config.run_id)  # round in a circle
    assert link_shared([config], two) == 1
    assert link_shared([config], one) == 0


def test_a_link_of_ones_own_to_a_disk_that_is_not_mounted_is_kept(sweep_file, tmp_path):
    """Its run must not be trained again."""
    path = sweep_file(seeds=1, layers=(3,))
    first, *_ = find_sweep(str(path))("quick")
    archive, link = tmp_path / "archive", tmp_path / "runs/depths-quick" / first.run_id
    train([first], archive)
    link.parent.mkdir(parents=True)
    link.symlink_to(archive / first.run_id)
    assert "(1 new, 1 done)" in call("plan", path, cwd=tmp_path)
    archive.rename(tmp_path / "elsewhere")
    for target in (archive, Path("../../archive"), tmp_path / "runs/two"):
        link.unlink()
        link.symlink_to(target / first.run_id)
        for verb in ("plan", "status", "run"):
            err = call(verb, path, cwd=tmp_path, status=2)
            assert (
                f"{first.run_id} is a link to {target / first.run_id}, which is" in err
            )
        assert link.is_symlink()
    assert [each.name for each in link.parent.iterdir()] == [first.run_id]


def test_a_link_to_a_removed_run_on_another_disk_is_renewed(tmp_path):
    """The sweep folder beside is itself a link to that disk."""
    config = tiny_run()
    runs, disk = tmp_path / "runs", tmp_path / "disk"
    train([config], disk / "one")
    runs.mkdir()
    (runs / "one").symlink_to(disk / "one")
    assert link_shared([config], runs / "two") == 1
    (disk / "one" / config.run_id).rename(disk / "away")
    assert link_shared([config], runs / "two") == 0
    assert not (runs / "two" / config.run_id).is_symlink()


def test_a_runs_folder_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("/nowhere/at/all")
    (tmp_path / "circle").symlink_to("circle")
    for name, message in (
        ("file", "file cannot be read: Not a directory"),
        ("circle", "circle cannot be read: Too many levels of symbolic links"),
        ("dangling", "is a link to /nowhere/at/all, which is not there. Create that"),
    ):
        for command in ("run", "plan", "status", "tune"):
            err = call(command, "quick", "--runs", name, cwd=tmp_path, status=2)
            assert message in err
            assert "Traceback" not in err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_what_somebody_else_may_not_read_hides_no_other_run(tmp_path, capsys):
    good, shut = (tiny_run(seed=seed) for seed in range(2))
    train([good, shut], tmp_path / "open")
    train([good], tmp_path / "private")
    (tmp_path / "open" / shut.run_id).chmod(0)
    (tmp_path / "private").chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(folder.stat().st_mode | 0o755)
    os.seteuid(65534)
    try:
        assert survey(tmp_path / "open").counts == {"done": 1, "unreadable": 1}
        assert Status(runs=tmp_path).run() == 1
        captured = capsys.readouterr()
        assert link_shared([tiny_run(seed=2), shut], tmp_path / "new") == 0
    finally:
        os.seteuid(0)
        (tmp_path / "private").chmod(0o755)
    assert f"{tmp_path / 'private'} cannot be read: Permission denied" in captured.err
    assert "2 runs: 1 done, 1 unreadable" in captured.out
    assert f"{shut.run_id}: [Errno 13] Permission denied" in captured.out


ODD = (
    *("", "[]", "7", "null", '"x"', "{ torn", "{}", "\x00", '{"config": 3}'),
    '{"sessions": 3, "headline": 3, "step": [], "value": {}}',
    '{"sessions": [3, {"code": 4}], "headline": {"a/b": "x"}, "message": 3}',
)


def test_one_odd_file_is_named_and_the_rest_is_shown(tmp_path, capsys):
    config = tiny_run()
    train([config], tmp_path)
    path = tmp_path / config.run_id
    for name in ("config", "environment", "progress", "failure", "metrics", "result"):
        file = path / f"{name}.json{'l' * (name == 'metrics')}"
        before = file.read_bytes() if file.exists() else None
        result = (path / "result.json").read_bytes()
        if name not in ("config", "result"):
            (path / "result.json").unlink()
        for text in ODD:
            file.write_text(f"{text}\n")
            for as_json in (True, False):
                assert Show(name=str(path), json=as_json).run() == 0
                assert Status(sweep=str(tmp_path), json=as_json).run() == 0
            shown = capsys.readouterr().out
            assert config.run_id in shown
            if text in ("[]", "7", "{ torn"):
                assert str(file) in shown
        file.unlink() if before is None else file.write_bytes(before)
        (path / "result.json").write_bytes(result)


def test_the_last_numbers_are_those_of_the_last_step(tmp_path):
    config = tiny_run(steps=40)
    train([config], tmp_path)
    folder = RunFolder(tmp_path, config.run_id)
    whole = last_metrics(folder)
    (folder.path / "result.json").unlink()
    assert len(whole) > 3
    assert last_metrics(folder) == whole


def test_the_folder_of_one_run_says_its_state_and_what_trains_it(tmp_path):
    done, failed = configs = [tiny_run(seed=seed) for seed in range(2)]
    train([done], tmp_path)
    folder = RunFolder(tmp_path, failed.run_id)
    folder.open(failed)
    folder.write_json("failure.json", {"message": "ValueError: broken"})
    said = {}
    for config in configs:
        for verb in ("status", "retry"):
            path = tmp_path / config.run_id
            printed = call(verb, path, cwd=tmp_path, status=2)
            said[config.run_id] = printed
            assert f"{path} is one run, not a folder of runs: " in printed
    assert said[done.run_id].rstrip().endswith(": done.")
    assert "of runs: failed. To go on: python -m synth train " in said[failed.run_id]
    assert f"--seed 1 --runs {tmp_path}" in said[failed.run_id]
