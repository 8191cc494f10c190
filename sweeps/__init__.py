"""Many runs: grids as Python, planned, packed, carried out, resumed, watched, tuned."""
