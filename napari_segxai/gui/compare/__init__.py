"""The Compare and evaluate dock."""
