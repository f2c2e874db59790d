"""Pure functions: what is counted and added up, of arrays and of what the network made of changed copies."""
