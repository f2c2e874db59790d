"""Fewer digits at several times the speed, where that leaves the ranking of the samples as it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from napari_segxai.core.correlation import rank_correlation
from napari_segxai.models.inference.device import tensor_float32

if TYPE_CHECKING:
    from napari_segxai.engine.execution.executor import Executor

Setting = Literal["auto", "float32"]
"""auto: bfloat16, or else TensorFloat-32, for methods that only average many forward passes, where the device computes in
it and a check on the first samples shows the same ranking; and TensorFloat-32 for steps of gradient descent, whose end is
looked at in float32. float32: never."""

FEWER_DIGITS: dict[str, Callable[[torch.device], AbstractContextManager[Any]]] = {
    "bfloat16": lambda device: torch.autocast(device.type, torch.bfloat16),
    "TensorFloat-32": lambda device: tensor_float32(),
}
"""The number formats that are tried, the fastest first."""

SAMPLES = 16
"""Samples that are run both ways."""

MIN_SAMPLES_FACTOR = 16
"""So many times the samples of the check have to come, or the check costs more than it saves."""

RANKING = 0.99
"""Rank correlation of the scores that is asked for."""


def computes_bfloat16(device: torch.device) -> bool:
    """Tell whether a device computes in bfloat16 itself, and so faster than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def number_formats(device: torch.device) -> list[str]:
    """Return the formats of fewer digits in which a device computes faster than in float32."""
    known = {
        "bfloat16": computes_bfloat16(device),
        "TensorFloat-32": device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0),
    }
    return [name for name in FEWER_DIGITS if known[name]]


def descending(executor: Executor) -> AbstractContextManager[Any]:
    """Return the context for steps of gradient descent: it finds its way in fewer digits, too."""
    if executor.precision != "auto" or "TensorFloat-32" not in number_formats(executor.device):
        return nullcontext()
    executor.notes["precision"] = "TensorFloat-32"
    return tensor_float32()


class MixedPrecision:
    """Runs forward passes, in fewer digits once the first samples have shown that it makes no difference.

    A rule of the device and of the scores, not a timing: a result must not depend on how busy the machine was.

    Parameters
    ----------
    executor
        Its setting, its network, and where the decision is noted.
    count
        Samples to come.
    score
        What is read of the logits: (n, labels, *grid) -> (n,).
    """

    def __init__(self, executor: Executor, count: int, score: Callable[[Tensor], Tensor]):
        self.executor, self.score = executor, score
        wanted = executor.precision == "auto" and count >= MIN_SAMPLES_FACTOR * SAMPLES
        self.tried = number_formats(executor.device) if wanted else []
        self.chosen = ""
        self._scores: list[list[Tensor]] = []

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits, float32."""
        if self.chosen:
            return self._rough(self.chosen, inputs)
        logits = self.executor.look(inputs)
        if self.tried:
            self._scores.append(
                [self.score(logits), *(self.score(self._rough(f, inputs)) for f in self.tried)]
            )
            exact, *rough = (torch.cat(scores) for scores in zip(*self._scores, strict=True))
            if len(exact) >= SAMPLES:
                self._decide(exact, rough)
        return logits

    def _decide(self, exact: Tensor, rough: list[Tensor]) -> None:
        for name, scores in zip(self.tried, rough, strict=True):
            found = rank_correlation(exact, scores, rounding=0) or 0.0
            self.executor.notes[f"rank_correlation_{name.replace('-', '').lower()}"] = round(found, 4)
            if found >= RANKING:
                self.chosen = self.executor.notes["precision"] = name
                break
        self.tried = []

    def _rough(self, name: str, inputs: Tensor) -> Tensor:
        with FEWER_DIGITS[name](self.executor.device):
            return self.executor.look(inputs).float()
