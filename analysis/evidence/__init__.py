"""What each claim is tested on: from the table of all runs to tests, by family."""
