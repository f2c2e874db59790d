"""What methods are made of: each asks the network one kind of question."""
