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

from analysis.collect import read_all
from analysis.notebooks.display import draw, verdicts

frame = read_all(Path(os.environ.get("SYNTH_RESULTS", "analysis/results")))

# %% [markdown]
# ## What is learnt at choices and elsewhere

# %%
draw("choice-points", frame)

# %%
draw("choice-weights", frame)

# %% [markdown]
# ## What a symbol says about the next

# %%
draw("information", frame)

# %% [markdown]
# ## The residual by layer

# %%
draw("layer-law", frame)

# %% [markdown]
# ## Verdicts

# %%
judgements = verdicts(frame, "C12", "C13", "C14", "C15", "C21")
