"""Published numbers beside ours: a TOML file for each published table, and the verdicts."""
