"""The noise network of u-noise: what it is, its training and its file."""
