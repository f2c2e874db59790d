"""Metrics: how well a map explains, and how well regions agree."""
