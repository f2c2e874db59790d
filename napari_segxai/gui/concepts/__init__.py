"""The Concepts dock."""
