"""evolver."""
