"""Model formats: one file per way in which a model can be stored."""
