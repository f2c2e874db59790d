"""What is done for one case, and how it is kept."""
