"""What is hidden, and what takes its place."""
