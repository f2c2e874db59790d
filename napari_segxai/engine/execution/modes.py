"""Work in steps runs in torch's usual modes, whatever its caller has switched on or off."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from napari_segxai.core.progress import Steps
from napari_segxai.models.inference.device import exact

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def usual_modes() -> Generator[None]:
    """While open, gradients are on, tensors ordinary ones, also inside ``torch.no_grad``, and float32 is float32."""
    with torch.inference_mode(False), torch.enable_grad(), exact():
        yield


def in_usual_modes(work: Callable[P, Steps[T]]) -> Callable[P, Steps[T]]:
    """Let every step of a generator run in the usual modes; between two steps the caller has its own."""

    @wraps(work)
    def guarded_work(*args: P.args, **kwargs: P.kwargs) -> Steps[T]:
        steps = work(*args, **kwargs)
        try:
            while True:
                with usual_modes():
                    try:
                        step = next(steps)
                    except StopIteration as done:
                        return done.value
                yield step
        finally:
            with usual_modes():
                steps.close()

    return guarded_work
