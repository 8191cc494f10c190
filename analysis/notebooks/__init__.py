"""Percent scripts with their executed notebooks: text and calls, nothing else."""
