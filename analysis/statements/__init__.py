"""The claims of the papers, each with its one contrast.

C1 to C15 and C18 are of arXiv 2404.19737, C21 of 2408.13442, C24 and C25 of 2403.06963,
C26 to C28 of 2508.19228. A contrast fixes sizes, runs and sign before they are trained;
that of C25 was changed afterwards, which its caveat says.
"""

from collections.abc import Collection

import polars as pl

from analysis.claims import Judgement, judge
from analysis.finished_runs import answering_runs
from analysis.statements.explanation_claims import EXPLANATIONS
from analysis.statements.induction_claims import INDUCTION
from analysis.statements.path_claims import PATHS
from analysis.statements.polynomial_claims import POLYNOMIALS

CLAIMS = (*INDUCTION, *POLYNOMIALS, *EXPLANATIONS, *PATHS)
"""Each claim with its contrast, its exploratory table, and the command to settle it."""


def judge_all(frame: pl.DataFrame, only: Collection[str] = ()) -> list[Judgement]:
    """Judge every claim, or those named in `only`.

    Runs that hold out the validation split are trials of rates and count for no claim. Of
    a cell that was tuned, its runs at the tuned rate count.
    """
    frame = answering_runs(frame)
    return [judge(claim, frame) for claim in CLAIMS if not only or claim.id in only]
