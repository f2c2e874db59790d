"""What a card says of windows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal


@dataclass(frozen=True)
class Windows:
    """The sliding window through which a network sees images that are larger than what it was trained on.

    Attributes
    ----------
    size
        Cells of the model grid per axis that the network sees at once (nnU-Net's patch size, MONAI's ``roi_size``).
    overlap
        Share of its size by which a window overlaps the next one, from 0 to less than 1; nnU-Net's step size is 1 - overlap.
    rule
        Where windows lie: "nnunet", evenly spread; "monai", at equal steps, the last one moved to the end.
    weighting
        How much each place of a window counts where windows overlap: "gaussian", most in its middle; or "constant".
    mirror
        Axes of the model grid, from 0, along which windows are mirrored as well: the mean of all combinations counts
        (nnU-Net's test-time augmentation).
    average
        What is averaged where windows overlap: logits, or probabilities.
    margin
        Cells at both ends of a window, per axis, that do not count where the middle of another one lies (bioimage.io's halo).
    padding, padding_value
        What lies around an image that is smaller than a window, which is put into its middle: a constant (after the
        intensity steps), the nearest value, or the mirrored image.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    size: tuple[int, ...]
    overlap: float = 0.5
    rule: Literal["nnunet", "monai"] = "nnunet"
    weighting: Literal["gaussian", "constant"] = "gaussian"
    mirror: tuple[int, ...] = ()
    average: Literal["logits", "probabilities"] = "logits"
    margin: tuple[int, ...] = ()
    padding: Literal["constant", "replicate", "reflect"] = "constant"
    padding_value: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ValueError("overlap of windows is a share of their size, from 0 to less than 1")
        if not math.isfinite(self.padding_value):
            raise ValueError("padding_value of windows is a finite number")
        if not self.size or any(n < 1 for n in self.size):
            raise ValueError("the size of windows is a positive number of cells per axis")
        if self.margin and (
            len(self.margin) != len(self.size)
            or any(not 0 <= 2 * m < n for m, n in zip(self.margin, self.size, strict=True))
        ):
            raise ValueError(
                f"margin of windows needs {len(self.size)} numbers of cells, each less than half of the size"
            )
        if len(set(self.mirror)) != len(self.mirror) or any(
            not 0 <= axis < len(self.size) for axis in self.mirror
        ):
            raise ValueError(f"mirror names axes from 0 to {len(self.size) - 1}, each once")

    @property
    def cells(self) -> int:
        """Cells of one window."""
        return math.prod(self.size)

    @property
    def views(self) -> int:
        """How often each window is run: once, and once for every combination of mirrored axes."""
        return 2 ** len(self.mirror)
