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
# # Your sweep
#
# Accuracy against size, learning curves, rate curves and a paired table, for any table:
# `python -m analysis notebooks SWEEP --to mine.ipynb` executes this for `SWEEP`, which is
# a table, a parquet file, a sweep, or a folder of tables or of runs.

# %%
"""The modules that draw and count."""

from pathlib import Path

from analysis.load_sweep import load_sweep
from analysis.notebooks.display import (
    show_contrasts,
    show_learning_curves,
    show_overview,
    show_rates,
)
from analysis.parquet import results_folder
from synth.families.plugins import load

# %% tags=["parameters"]
sweep = "repeats"
results = ""  # the folder of tables, if not the usual one
plugins: list[str] = []  # files that define tasks of your own

# %%
for file in plugins:
    load(Path(file))
frame = load_sweep(sweep, Path(results) if results else results_folder())

# %% [markdown]
# ## At the end of training
#
# The first metric that each task declares, against size; a panel a value where one more
# field varies, else a picture a setting. Dots are seeds, bars 95 % intervals; rings are
# seeds in two groups, which have no mean.

# %%
show_overview(frame)

# %% [markdown]
# ## Along training

# %%
show_learning_curves(frame)

# %% [markdown]
# ## Learning rates
#
# Each cell at every rate that was tried for it. A best rate at the edge of its grid is no
# best rate.

# %%
show_rates(frame)

# %% [markdown]
# ## Every arm against next-token prediction
#
# Paired by data seed, at the end of training; p values after Holm, over all rows of a task.

# %%
show_contrasts(frame)
