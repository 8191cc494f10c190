"""Runs that travel: files of other programs, made of a run."""
