"""Words and pure functions that every room uses; numpy alone."""
