"""The tables of a cohort: what their columns mean, and rows of several tables side by side."""
