"""Several maps of one prediction, measured alike."""
