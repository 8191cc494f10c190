"""Many runs: sweeps as Python functions, planned, packed, trained, resumed and tuned."""
