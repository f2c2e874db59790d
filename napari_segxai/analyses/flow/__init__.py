"""Information flow: all network layers and labels at once."""
