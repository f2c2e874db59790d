"""How much a prediction depends on every channel of the image."""
