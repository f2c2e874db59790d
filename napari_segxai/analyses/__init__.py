"""What can be asked: one folder for every command and dock."""
