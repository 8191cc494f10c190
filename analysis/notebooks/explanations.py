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
# # Explanations: choice points, information, the layer law
#
# Sections 5.1 and 5.2 of arXiv 2404.19737, and arXiv 2408.13442, measured on models
# that were trained on sources whose right answers are known exactly.

# %%
"""The collected tables, read once."""

import os
from pathlib import Path

from analysis.load_sweep import load_tables
from analysis.notebooks.display import show, show_figure, show_verdicts, tests_of

frame = load_tables(Path(os.environ.get("SYNTH_RESULTS", "analysis/results")))

# %% [markdown]
# Every picture is of one setting, named above it: task, tokens, loss, learning rate and
# seeds. Dots are seeds, bars 95 % intervals over seeds. The data are the collected
# tables of the repository; sizes are non-embedding parameters.

# %% [markdown]
# ## What is learnt at choices, and by how many runs
#
# Excess loss is what head 1 loses beyond the entropy of the source; zero is perfect. Below
# it, the share of runs that have come under a fixed level.

# %%
show_figure("choice-points", frame)

# %% [markdown]
# ## What weighs on a choice
#
# The share of terms is a count (5.1); loss and gradient are measured on the model.

# %%
show_figure("choice-weights", frame)

# %% [markdown]
# ## What a symbol says about the next

# %%
show_figure("information", frame)

# %% [markdown]
# ## The residual by layer
#
# A straight falling line is the law: each layer removes the same fraction.

# %%
show_figure("layer-law", frame)

# %% [markdown]
# ## Verdicts

# %%
judgements = show_verdicts(frame, "C12", "C13", "C14", "C15", "C21")

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
