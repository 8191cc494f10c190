"""Runs on a SLURM cluster: packs submitted as job arrays, and their status.

Imports no other package of this project than `synth`.
"""
