"""How every file of sample_data is made: see build_samples.py."""
