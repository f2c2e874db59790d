"""Models: from files or a module to a network with its card, what it consists of, and how it is run."""
