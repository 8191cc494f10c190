"""Generators of problems whose answers are known: one task a file, one contract."""
