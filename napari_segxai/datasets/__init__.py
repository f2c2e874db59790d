"""Data that come with the package, and the data sets that it can make."""
