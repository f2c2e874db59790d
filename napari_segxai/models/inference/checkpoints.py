"""Running the checkpointed parts of a network like all others.

``torch.utils.checkpoint`` throws away what it computes and computes it again in the backward pass, which saves memory
in training. Hooks then see a part twice, or see it without gradients, and the re-entrant kind refuses
``torch.autograd.grad``. The function that is checkpointed gives the same numbers when it is just called.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from torch.utils import checkpoint as torch_checkpoint

_lock = threading.Lock()
_plain: dict[int, int] = {}
"""Threads in which checkpointed functions are just called, and how often that was asked for."""

_own: dict[str, Any] = {}
"""What stands in torch's module, while something else stands in for it."""


@contextmanager
def without_checkpoints() -> Generator[None]:
    """While open, checkpointed functions are called directly in this thread; other threads are unaffected.

    ``checkpoint`` itself is imported by name into networks' files, so what it looks up when it runs is exchanged.
    """
    thread = threading.get_ident()
    with _lock:
        if not _plain:
            _own.update({name: getattr(torch_checkpoint, name) for name in _NAMES})
            for name, make in _NAMES.items():
                setattr(torch_checkpoint, name, make(_own[name]))
        _plain[thread] = _plain.get(thread, 0) + 1
    try:
        yield
    finally:
        with _lock:
            _plain[thread] -= 1
            if not _plain[thread]:
                del _plain[thread]
            if not _plain:
                for name, value in _own.items():
                    setattr(torch_checkpoint, name, value)


@cache
def _reentrant(own: Any) -> Any:
    class CheckpointFunction(own):
        @classmethod
        def apply(cls, function: Callable, preserve: bool, *args: Any) -> Any:
            if threading.get_ident() in _plain:
                return function(*args)
            return own.apply(function, preserve, *args)

    return CheckpointFunction


@cache
def _recomputing(own: Callable[..., Iterator[None]]) -> Callable[..., Iterator[None]]:
    def before_and_after(*args: Any, **kwargs: Any) -> Iterator[None]:
        if threading.get_ident() in _plain:
            return _nothing()
        return own(*args, **kwargs)

    return before_and_after


def _nothing() -> Iterator[None]:
    yield


_NAMES = {
    name: make
    for name, make in (
        ("CheckpointFunction", _reentrant),
        ("_checkpoint_without_reentrant_generator", _recomputing),
        ("_checkpoint_without_reentrant_generator_impl", _recomputing),  # since torch 2.14
    )
    if hasattr(torch_checkpoint, name)
}
