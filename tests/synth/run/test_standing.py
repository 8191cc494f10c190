"""One list of states for folders, queues and tables."""

import pytest

from synth.run.standing import look, standing
from synth.run.states import LIVE, STATES, TROUBLED, format_counts
from synth.run.store import RunFolder
from tests.conftest import tiny_run


def test_tables_count_in_one_order():
    assert format_counts({"failed": 1, "new": 0, "done": 3, "queued": 2}) == (
        "2 queued, 3 done, 1 failed"
    )
    assert len(set(STATES)) == len(STATES)
    assert not set(LIVE) & set(TROUBLED)


def test_a_listing_passes_over_what_never_began(tmp_path):
    (tmp_path / "notes").mkdir()
    config = tiny_run()
    RunFolder(tmp_path, config.run_id).open(config)
    assert look(tmp_path).begun().ids("stopped") == {config.run_id}
    assert [run.state for run in look(tmp_path).runs] == ["new", "stopped"]


@pytest.mark.parametrize(
    ("name", "content", "state"),
    [("failure.json", "{ torn", "failed"), ("config.json", "[]", "unreadable")],
)
def test_what_cannot_be_read_is_told_from_what_failed(tmp_path, name, content, state):
    config = tiny_run()
    folder = RunFolder(tmp_path, config.run_id)
    folder.open(config)
    (folder.path / name).write_text(content)
    found = standing(tmp_path, config.run_id, config)
    assert (found.state, name in (found.error or "")) == (state, True)
