"""What methods about concepts and folders are made of."""
