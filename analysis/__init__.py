"""What came out: collecting, statistics, figures, claims, the report."""
