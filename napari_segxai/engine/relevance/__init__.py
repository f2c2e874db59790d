"""Relevance, carried from the logits back to the input by rules for every operation of a network."""
