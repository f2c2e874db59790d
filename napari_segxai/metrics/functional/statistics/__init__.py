"""Statistics of vectors and of names: factors, prototypes, information, indices."""
