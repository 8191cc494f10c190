"""Every command that takes runs takes an id, its beginning, a path and a pattern."""

import pytest

import synth
from analysis.__main__ import commands as analysis_commands
from slurm.__main__ import commands as slurm_commands
from slurm.job_record import JobRecord, write_record
from sweeps.__main__ import commands as sweeps_commands
from synth.__main__ import commands as synth_commands
from synth.cli.console import main
from synth.cli.run_names import OneRun, SomeRuns
from synth.probes.commands import Law, RunProbe
from synth.tasks.choice_points import ChoicePointsConfig
from synth.tasks.repeats import RepeatsConfig
from synth.tasks.sources import SourcesConfig
from tests.conftest import two_steps

COMMANDS = {
    "evaluate": "--examples 4",
    "generate": "",
    "export": "FOLDER",
    "track": "--to tensorboard",
    "probe law": "--examples 20 --permutations 1 --folds 0 --classes 4",
    "probe choice-points": "--examples 4 --gradient-examples 4",
    "probe information": "--examples 4 --prefixes 4",
    "probe induction": "",
    "probe speculation": "--examples 4",
    "probe future": "--examples 4",
    "sweeps show": "",
    "sweeps reproduce": "--runs FOLDER",
    "slurm logs": "",
    "slurm cancel": "",
    "analysis attention": "--figures FOLDER",
}
TASKS = {"choice-points": ChoicePointsConfig(), "sources": SourcesConfig()}
FORMS = {
    "an id": "{run_id}",
    "its beginning": "{beginning}",
    "a path": "runs/deep/{run_id}",
    "a path with a slash": "./runs/deep/{run_id}/",
    "an absolute path": "{here}/runs/deep/{run_id}",
    "a pattern": "{kind}-*-s0-*",
    "a pattern of paths": "runs/*/{kind}-*",
}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A run on each task, two levels deep, its table, and what a cluster wrote."""
    here = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        for task in (RepeatsConfig(), *TASKS.values()):
            run = synth.train(two_steps(task), runs="runs/deep", progress=False)
            job = JobRecord("launch", 0, "12", "private", 0.0)
            write_record(run.path.parent, run.run_id, job)
        assert main(["analysis", "collect"]) == 0
    return here


def test_the_list_of_commands_is_whole():
    """Whatever names runs is in `COMMANDS`; `reproduce` names those of a table."""
    rooms = {
        "": synth_commands(),
        "probe ": {"law": Law} | {one.name: one for one in RunProbe.__subclasses__()},
        "sweeps ": sweeps_commands(),
        "slurm ": slurm_commands(),
        "analysis ": analysis_commands(),
    }
    found = {
        room + word
        for room, commands in rooms.items()
        for word, command in commands.items()
        if issubclass(command, (OneRun, SomeRuns))
    }
    assert found | {"sweeps reproduce"} == set(COMMANDS)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_is_named_in_every_form(command, form, here, tmp_path, monkeypatch):
    monkeypatch.chdir(here)
    monkeypatch.setattr("slurm.commands.cancel", lambda root, run_ids, states: [])
    kind = next((kind for kind in TASKS if command == f"probe {kind}"), "repeats")
    kind = "sources" if command == "probe information" else kind
    (path,) = here.glob(f"runs/deep/{kind}-*")
    name = FORMS[form].format(
        run_id=path.name, beginning=path.name[:-4], kind=kind, here=here
    )
    more = COMMANDS[command].replace("FOLDER", str(tmp_path / "new")).split()
    assert main([*command.split(), name, *more]) == 0


def test_all_runs_of_a_folder_at_once(here, monkeypatch, capsys):
    monkeypatch.chdir(here)
    for name in ("runs/deep", "deep", "runs", "*-n1-*"):
        assert main(["track", name, "--to", "tensorboard"]) == 0
        assert capsys.readouterr().out.count("up to step 2") == 3
    assert main(["generate", "deep"]) == 2
    assert "fits" in capsys.readouterr().err
