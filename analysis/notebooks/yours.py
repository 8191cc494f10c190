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
# the environment variable `SYNTH_RESULTS` names a parquet file, a folder of tables or of
# runs, or a sweep. Without it, these are the runs of `make quick` on repeated segments.

# %%
"""The table, read once."""

import os

from analysis.loading import load_sweep
from analysis.notebooks.display import learning, overview, paired, rates
from analysis.parquet import results_folder

frame = load_sweep(os.environ.get("SYNTH_RESULTS", "repeats"), results_folder())

# %% [markdown]
# ## At the end of training
#
# The first metric that each task declares, against size; a panel a value where one more
# field varies, else a picture a setting. Dots are seeds, bars 95 % intervals; rings are
# seeds in two groups, which have no mean.

# %%
overview(frame)

# %% [markdown]
# ## Along training

# %%
learning(frame)

# %% [markdown]
# ## Learning rates
#
# Each cell at every rate that was tried for it. A best rate at the edge of its grid is no
# best rate.

# %%
rates(frame)

# %% [markdown]
# ## Every arm against next-token prediction
#
# Paired by data seed, at the end of training; p values after Holm, over all rows of a task.

# %%
paired(frame)
