"""A trained run in Python: loaded, read, sampled, scored."""
