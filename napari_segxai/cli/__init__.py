"""The command line: the same names, defaults and numbers as in Python."""
