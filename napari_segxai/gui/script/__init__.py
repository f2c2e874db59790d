"""Copy as Python: a result as a script that makes it again."""
