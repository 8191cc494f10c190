"""One run: what is trained, on what, towards what.

Knows nothing of sweeps, clusters or plots. See README.md for the map of the rooms.
"""
