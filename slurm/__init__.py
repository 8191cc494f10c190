"""Where runs train: packs submitted to SLURM through submitit, and the way back.

Imports `synth` and nothing else of this project. README.md has the map of the rooms.
"""
