"""What the plugin manifest names: reader, writers, samples, commands, the demonstration."""
