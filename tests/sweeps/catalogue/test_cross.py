"""The cross of objectives and tasks: everything that can be learned, at every seed."""

from collections import Counter

from sweeps.catalogue.cross import ARMS, cross
from sweeps.cells import cell_key
from synth.families.family import members
from synth.metrics import Metric
from synth.tasks.questions import QuestionTask

NO_EVENT = {"sources", "discovery", "text"}


def test_at_night_every_objective_meets_every_task():
    runs = cross("night")
    tasks = {run.task.kind: run for run in runs}
    assert set(tasks) == {kind for kind in members("task") if _is_ours(kind)} - NO_EVENT
    assert {type(run.objective) for run in runs} == set(map(type, ARMS))
    cells = Counter(map(cell_key, runs))
    assert set(cells.values()) == {5}
    assert len(cells) == len(tasks) * len(ARMS)
    for run in tasks.values():
        first: Metric = next(one for one in run.task.metrics if one.better)
        assert first.learned is not None, run.task.kind
        built = run.task.build()
        if isinstance(built, QuestionTask):
            assert run.training.context == built.length


def test_quick_is_a_few_cells_of_the_same_kind():
    runs = cross("quick")
    assert len({run.task for run in runs}) == 3
    assert len({run.objective.kind for run in runs}) == 4  # one and four heads are one
    assert set(Counter(map(cell_key, runs)).values()) == {3}


def _is_ours(kind):
    """Other tests may have defined tasks of their own."""
    return members("task")[kind].__module__.startswith("synth.")
