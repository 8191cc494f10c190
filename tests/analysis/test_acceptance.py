"""The figure of acceptance by depth: which rows it takes, and what it plots."""

import pytest

from analysis.collect import collect
from analysis.plots.families import FIGURES
from synth.metrics import Measurement, to_lines
from tests.analysis.conftest import polynomial_rows, polynomial_run, write_run


def test_acceptance_is_drawn_from_saved_probes(tmp_path):
    """Means over seeds at each depth, of the last step and of one suite."""
    for seed, value in ((0, 0.4), (1, 0.6)):
        config = polynomial_run(4, seed)
        write_run(tmp_path, config, polynomial_rows(config, lambda m, step: 0.5))
        last = config.training.steps
        rows = [
            Measurement(config.run_id, step, 1, suite, "acceptance", part, found, 9)
            for step, suite, part, found in (
                (last, "in_domain", "running=free,depth=1", value),
                (last, "in_domain", "running=free,depth=2", value / 2),
                (last, "in_domain", "running=forced,depth=1", value / 4),
                (last, "out_of_domain", "running=free,depth=1", 0.0),
                (0, "in_domain", "running=free,depth=1", 0.0),
            )
        ]
        folder = tmp_path / config.run_id
        (folder / "probe-speculation.jsonl").write_text(to_lines(rows))
    (picture,), reasons = FIGURES["acceptance"].pictures(collect(tmp_path).frame)
    assert not reasons
    means = {
        (m, d): v for m, d, v in picture.table.select("mode", "depth", "mean").rows()
    }
    assert means == pytest.approx(
        {
            ("free running", 1): 0.5,
            ("free running", 2): 0.25,
            ("along the test rows", 1): 0.125,
        }
    )
