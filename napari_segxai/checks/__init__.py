"""Checks that tell how far an explanation can be trusted."""
