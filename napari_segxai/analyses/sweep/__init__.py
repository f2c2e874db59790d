"""One method over a grid of its parameters."""
