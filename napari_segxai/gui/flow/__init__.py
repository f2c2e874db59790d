"""The Information flow dock."""
