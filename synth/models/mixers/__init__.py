"""What mixes positions in a layer: one mixer a file."""
