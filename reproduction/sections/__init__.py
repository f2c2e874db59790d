"""The sections of the page, a file for each paper: its numbers as printed, and ours in the same form."""
