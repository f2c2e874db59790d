"""Functions with a backward pass of their own (`torch.autograd.Function`), shown to a mode, which does not see them by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from torch.autograd import Function

Shown = Callable[[type, Callable[..., Any], tuple[Any, ...]], Any]
"""(class, its `apply`, arguments) -> what is returned in its place."""

HOME = __name__.partition(".")[0]

_lock = threading.Lock()
_shown: dict[int, list[Shown]] = {}
"""By thread who is shown them, innermost last."""

_own: list[Any] = []
"""Torch's `apply`, while something else stands in for it."""


@contextmanager
def shown_to(shown: Shown) -> Generator[None]:
    """While open, `apply` of every such function that is not this package's own is answered by `shown`; other threads are unaffected."""
    thread = threading.get_ident()
    with _lock:
        if not _shown:
            _own[:] = [Function.__dict__["apply"]]
            Function.apply = classmethod(_apply)  # ty: ignore[invalid-assignment]
        _shown.setdefault(thread, []).append(shown)
    try:
        yield
    finally:
        with _lock:
            _shown[thread].pop()
            if not _shown[thread]:
                del _shown[thread]
            if not _shown:
                Function.apply = _own[0]


def _apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
    own = _own[0].__get__(None, cls)
    asked = _shown.get(threading.get_ident())
    if not asked or kwargs or cls.__module__.partition(".")[0] == HOME:
        return own(*args, **kwargs)
    return asked[-1](cls, own, args)
