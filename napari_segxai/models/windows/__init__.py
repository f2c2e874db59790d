"""Networks that see a large image through windows: where the windows lie, and one output made of theirs."""
