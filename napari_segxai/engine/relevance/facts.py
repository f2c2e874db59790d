"""What is known of a tensor that depends on the input, beside its values."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from napari_segxai.engine.relevance.weighted import Weighted


@dataclass(frozen=True)
class Fact:
    """What is known of a tensor that depends on the input.

    Attributes
    ----------
    gate
        Whether it is one, such as the output of a sigmoid.
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

    gate: bool = False
    made_of: tuple[str, Tensor, int] | None = None
    layer: tuple[Weighted, Tensor, Tensor, int] | None = None
    inside: Tensor | None = None
    after: bool = False
    origin: str = ""
    watched: tuple[str, ...] = ()


NOTHING = Fact()
