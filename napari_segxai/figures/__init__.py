"""Pictures and colours, from plain arrays."""
