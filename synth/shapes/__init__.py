"""What a model of a size consists of, by arithmetic alone (no torch)."""
