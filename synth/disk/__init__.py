"""Files that survive a crash, the cache of derived files, paths that a person typed."""
