"""The Sweep parameters dock."""
