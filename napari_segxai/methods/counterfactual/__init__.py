"""Methods that search another input, for which the network answers differently."""
