"""Explain one prediction with one method."""
