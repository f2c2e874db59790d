"""How passes are run: in batches, side by side, with fewer digits."""
