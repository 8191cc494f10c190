"""What a model is trained towards: one objective a file, one contract."""
