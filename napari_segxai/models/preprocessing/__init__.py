"""From an image to what a network gets, and all the way back."""
