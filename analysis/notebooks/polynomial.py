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
# a small model to compute? The cells below call functions of `analysis`; the data are
# the collected tables of the repository.

# %%
"""The collected tables, read once."""

import os
from pathlib import Path

from analysis.claims import outcome_table
from analysis.collect import read_all
from analysis.notebooks.display import draw, verdicts

frame = read_all(Path(os.environ.get("SYNTH_RESULTS", "analysis/results")))

# %% [markdown]
# ## Exact match against the number of operations (figure 8)

# %%
draw("figure-8-polynomial", frame)

# %% [markdown]
# ## Loss against size (figure S16), pause tokens (figure S15)

# %%
draw("figure-S16-sizes", frame)

# %%
draw("figure-S15-pause-tokens", frame)

# %% [markdown]
# ## When the ability forms

# %%
draw("curves-polynomial", frame)

# %% [markdown]
# ## Verdicts

# %%
judgements = verdicts(frame, "C7", "C8", "C9", "C10", "C11")

# %%
outcome_table(judgements[0])
