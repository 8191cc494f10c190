"""Published numbers beside ours: one TOML file a published table, and the board."""
