"""Half the digits at twice the speed, where that leaves the ranking of the samples as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from napari_segxai.core.correlation import rank_correlation

if TYPE_CHECKING:
    from napari_segxai.engine.execution.executor import Executor

Setting = Literal["auto", "float32"]
"""auto: bfloat16 for methods that only average many forward passes, where the device computes in it and a check on
the first samples shows the same ranking. float32: never."""

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


class MixedPrecision:
    """Runs forward passes, in bfloat16 once the first samples have shown that it makes no difference.

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
        self.undecided = wanted and computes_bfloat16(executor.device)
        self.half = False
        self._scores: list[tuple[Tensor, Tensor]] = []

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits, float32."""
        if self.half:
            return self._in_half(inputs)
        logits = self.executor.look(inputs)
        if self.undecided:
            self._scores.append((self.score(logits), self.score(self._in_half(inputs))))
            exact, rough = (torch.cat(scores) for scores in zip(*self._scores, strict=True))
            if len(exact) >= SAMPLES:
                found = rank_correlation(exact, rough, rounding=0) or 0.0
                self.half, self.undecided = found >= RANKING, False
                name = "bfloat16" if self.half else "float32"
                self.executor.notes |= {"precision": name, "rank_correlation_bfloat16": round(found, 4)}
        return logits

    def _in_half(self, inputs: Tensor) -> Tensor:
        with torch.autocast(self.executor.device.type, torch.bfloat16):
            return self.executor.look(inputs).float()
