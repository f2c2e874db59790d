"""The cohort: every case of a folder explained and measured, in a folder of results that is its own state."""
