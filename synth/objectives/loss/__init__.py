"""A batch and an objective to losses and gradients."""
