"""The evidence of each claim, from the table of all runs, by family."""
