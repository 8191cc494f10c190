"""A private SLURM cluster on one machine, for tests and for trying things out."""
