"""What is known of a tensor that depends on the input, beside its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from napari_segxai.engine.relevance.weighted import Weighted

Gate = Literal["", "sigmoid", "softmax"]


@dataclass(frozen=True)
class Fact:
    """What is known of a tensor that depends on the input.

    Attributes
    ----------
    gate
        What it is one of, "sigmoid" (or the like) or "softmax"; "" for none.
    made_of
        Of a sigmoid or softmax: its name, what went in, and the axis.
    layer
        The weighted layer that made it, what that layer read, its output without a rule behind it, and the version: a
        normalisation behind it is folded in.
    inside
        Where the input, but for padding and rescaling, reaches so far unchanged: 1 where there is no padding.
    after
        Whether it depends on the output of a bottleneck.
    origin
        The last network layer that it has passed, of those from which a skip connection leaves.
    watched
        Names of the network layers whose output it is.
    """

    gate: Gate = ""
    made_of: tuple[str, Tensor, int] | None = None
    layer: tuple[Weighted, Tensor, Tensor, int] | None = None
    inside: Tensor | None = None
    after: bool = False
    origin: str = ""
    watched: tuple[str, ...] = ()


NOTHING = Fact()
