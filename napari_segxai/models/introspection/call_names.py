"""What calls of modules are called: ``path`` the first call in a pass, ``path@2`` the second one of the same module."""

from __future__ import annotations

from collections import Counter


class CallNames:
    """Names the calls of one pass, in the order in which they happen."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()

    def next(self, path: str) -> str:
        """Return the name of the next call of the module with this dotted path."""
        self._count[path] += 1
        number = self._count[path]
        return path if number == 1 else f"{path}@{number}"


def split_call(name: str) -> tuple[str, int]:
    """Return the dotted path of the module, and which of its calls it is, from 1."""
    path, _, number = name.rpartition("@")
    # a module's own name may hold the sign, too
    return (path, int(number)) if path and number.isdecimal() else (name, 1)


def module_of(name: str) -> str:
    """Return the dotted path of the module that is called."""
    return split_call(name)[0]
