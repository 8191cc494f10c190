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
# # Polynomial arithmetic
#
# Section 4.2 and appendix K of arXiv 2404.19737: does predicting several tokens teach
# a small model to compute? The cells below call functions of `analysis` and hold no
# numbers of their own.

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
mine = answers.filter(answers["task"] == "polynomial")

# %% [markdown]
# Every picture is of one setting, named above it: task, tokens, loss, learning rate and
# seeds. Dots are seeds, bars 95 % intervals over seeds. The data are the collected
# tables of the repository; sizes are non-embedding parameters.

# %% [markdown]
# ## Exact match against the number of operations (figure 8)
#
# Hollow marks are means that the test set cannot tell from guessing the commonest answer.

# %%
show_figure("figure-8-polynomial", frame)

# %% [markdown]
# ## Loss against size (figure S16)

# %%
show_figure("figure-S16-sizes", frame)

# %% [markdown]
# ## Pause tokens (figure S15)

# %%
show_figure("figure-S15-pause-tokens", frame)

# %% [markdown]
# ## When the ability forms
#
# Thin lines are runs, thick ones their means; ticks mark when each run learned it.

# %%
show_figure("curves-polynomial", frame)

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
judgements = show_verdicts(frame, "C7", "C8", "C9", "C10", "C11")

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
