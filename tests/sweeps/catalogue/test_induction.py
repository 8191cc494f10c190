"""The grids of induction: paired arms, table S13, equal token budgets."""

import pytest

from sweeps.catalogue.induction import P_OPEN, induction, induction_books
from synth.config import RunConfig


@pytest.mark.parametrize(
    ("grid", "scale"),
    [(grid, scale) for grid in (induction, induction_books) for scale in grid.scales],
)
def test_arms_are_paired(grid, scale):
    """For every task, size and seed there is n = 1 and n = 2, on the same data."""
    runs = grid(scale)
    arms: dict[tuple[str, str, int], list[RunConfig]] = {}
    for run in runs:
        key = (str(run.task.canonical()), run.model.scale, run.seed)
        arms.setdefault(key, []).append(run)
    for pair in arms.values():
        assert [run.objective.horizon for run in pair] == [1, 2]
        assert pair[0].training == pair[1].training
        assert pair[0].resolved_data_seed == pair[1].resolved_data_seed


def test_paper_scale_is_table_s13():
    for run in induction("paper"):
        training = run.training
        assert training.tokens_per_step == 1 << 18
        assert (training.steps, training.warmup_steps) == (100_000, 2000)
        assert (training.learning_rate, training.context) == (1e-4, 2048)
    assert len(induction("paper")) == 7 * 2 * 2 * len(P_OPEN["paper"])


def test_paper_books_double_the_batch_and_halve_the_steps():
    mixed = [run for run in induction_books("paper") if run.task.books_parts == 9]
    assert mixed
    for run in mixed:
        assert run.training.tokens_per_step == 1 << 19
        assert run.training.steps == 50_000


def test_books_are_compared_at_equal_tokens():
    for scale in induction_books.scales:
        tokens = {
            run.training.tokens_per_step * run.training.steps
            for run in induction_books(scale)
        }
        assert len(tokens) == 1
