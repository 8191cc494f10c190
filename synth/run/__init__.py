"""The life of one run on disk: folder, checkpoints, resuming, records."""
