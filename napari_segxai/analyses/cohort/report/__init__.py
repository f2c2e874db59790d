"""The report of a cohort: one file of HTML or PDF, and its tables for LaTeX and spreadsheets."""
