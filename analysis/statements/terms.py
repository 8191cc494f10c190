"""Sources, ranges of sizes and effects that several claims share."""

import math

MTP, LAW = "arXiv 2404.19737", "arXiv 2408.13442"
STAR, TOP = "arXiv 2403.06963", "arXiv 2508.19228"
SMALL, LARGE = (1e6, 30e6), (100e6, math.inf)
FROM_1M, FIGURE_8 = (1e6, math.inf), (30e6, 100e6)
"""Non-embedding parameters, from and to."""
POINTS = 0.05
"""Five points of accuracy: the smallest effect of interest."""
