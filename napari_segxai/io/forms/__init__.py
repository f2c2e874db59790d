"""What a record of every kind says, key by key: checked before anything that a stranger may have written is used.

docs/file_formats.md has the meanings. Keys that are not named here are let through and not read.
"""
