"""Tasks and objectives by their kind, those of a person's own files included."""
