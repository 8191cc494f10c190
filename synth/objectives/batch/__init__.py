"""What each term of a loss has to predict in a batch."""
