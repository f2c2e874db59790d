"""Methods that look at the activations of network layers."""
