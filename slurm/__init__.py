"""Where runs train: packs sent to SLURM as job arrays, and the way back.

Imports `synth` and nothing else of this project. README.md has the map of the rooms.
"""
