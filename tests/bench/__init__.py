"""Benchmarks: each measures both sides in one run and prints a Markdown table."""
