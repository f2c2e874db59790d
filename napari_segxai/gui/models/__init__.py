"""The models that all docks offer, and which labels they draw."""
