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

from analysis.collect import read_all
from analysis.notebooks.display import draw, verdicts

frame = read_all(Path(os.environ.get("SYNTH_RESULTS", "analysis/results")))

# %% [markdown]
# ## Against size, stories alone (figure 7)

# %%
draw("figure-7-induction", frame)

# %% [markdown]
# ## With books, nine to one (figure S14)

# %%
draw("figure-S14-books", frame)

# %% [markdown]
# ## When the circuit forms

# %%
draw("curves-induction", frame)

# %% [markdown]
# ## Verdicts

# %%
judgements = verdicts(frame, "C1", "C2", "C3", "C4", "C5", "C6")
