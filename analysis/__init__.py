"""Results of runs: collection into tables, statistics, figures, claims, the report."""
