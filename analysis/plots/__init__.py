"""One function from a table to a figure for each figure of the suite."""
