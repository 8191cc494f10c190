# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Induction in children's stories
#
# Section 4.1 and appendix J of arXiv 2404.19737: the second token of a name follows
# from its first mention. Who learns to look back, and when?

# %%
"""The collected tables, read once."""

import os
from pathlib import Path

from analysis.finished_runs import answering_runs
from analysis.load_sweep import load_tables
from analysis.notebooks.display import show, show_figure, show_verdicts, tests_of
from analysis.report import label_settings
from analysis.trajectories import equal_cost_table, events_table

frame = load_tables(Path(os.environ.get("SYNTH_RESULTS", "analysis/results")))
answers = answering_runs(frame)
mine = answers.filter(answers["task"] == "stories")

# %% [markdown]
# Every picture is of one setting, named above it: task, tokens, loss, learning rate and
# seeds. Dots are seeds, bars 95 % intervals over seeds. The data are the collected
# tables of the repository; sizes are non-embedding parameters.

# %% [markdown]
# ## Against size, stories alone (figure 7)
#
# The dotted line is what guessing the name that the story says most would score: above
# it, a model must look back. Where a cell has one seed, the dashed bar is a bootstrap
# interval over test stories.

# %%
show_figure("figure-7-induction", frame)

# %% [markdown]
# ## With books, nine to one (figure S14)

# %%
show_figure("figure-S14-books", frame)

# %% [markdown]
# ## When the circuit forms

# %%
show_figure("curves-induction", frame)

# %% [markdown]
# ## At equal cost, and when it forms
#
# Every arm minus n = 1 at one size, at equal tokens and executed FLOP, paired on
# data seeds; then in how many runs it was learned, and after how many tokens. Cells whose
# seeds fall into two groups have no mean, and the p value of the sign test.

# %%
show(label_settings(equal_cost_table(mine), mine).drop("metric", strict=False))

# %%
show(label_settings(events_table(mine), mine).drop("metric", strict=False))

# %% [markdown]
# ## Verdicts

# %%
judgements = show_verdicts(frame, "C1", "C2", "C3", "C4", "C5", "C6")

# %% [markdown]
# ## Exploratory tests, which decide nothing
#
# `low` and `high` bound the mean over seeds, `items_low` and `items_high` what other test
# items (stories, problems) would give, where that is known.

# %%
show(
    tests_of(judgements),
    *("claim", "test", "expected", "mean", "low", "high", "seeds"),
    *("items_low", "items_high", "p_holm", "note"),
)
