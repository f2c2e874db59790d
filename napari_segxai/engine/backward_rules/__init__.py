"""Other rules for the backward pass, which hold for a while."""
