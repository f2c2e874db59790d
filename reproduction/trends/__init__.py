"""What the papers say of their numbers, and rules by which it is looked for in ours.

Nothing here knows an outcome: a verdict comes from rows by its rule. "in 7 of 8 cases" counts the cases in which a
comparison of means also holds for the single case. What differs by rounding is a tie, and neither more nor less
(`napari_segxai.metrics.functional.ties`).
"""
