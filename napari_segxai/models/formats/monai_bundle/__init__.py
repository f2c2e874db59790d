"""A MONAI bundle: a folder with a network's weights, and files that say how it is built and used, read as data."""
