"""From a stranger's files to a network: nothing is unpickled, and no code runs without a yes."""
