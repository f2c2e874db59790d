"""What the number of passes of a method can depend on, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from napari_segxai.core.errors import UserError
from napari_segxai.models.introspection.layers import NetworkLayer, find_layer


@dataclass(frozen=True)
class Size:
    """What the number of passes can depend on.

    Attributes
    ----------
    grid
        Shape of the model grid.
    network_layers
        Lists the network layers, which can take a pass; only called by methods that need to know.
    image_channels
        Of the image.
    references
        Cases of the folder of references.
    looks
        Forward passes that it takes to choose a slice of each of them, for a 2D model on volumes.
    """

    grid: tuple[int, ...]
    network_layers: Callable[[], Sequence[NetworkLayer]]
    image_channels: int = 1
    references: int = 0
    looks: int = 0

    def check(self, method: str, name: str, value: int | None, most: int) -> None:
        """Refuse a parameter that asks for more than the model grid holds.

        Raises
        ------
        UserError
            If `value` is above `most`.
        """
        if value is not None and value > most:
            shape = " x ".join(map(str, self.grid))
            raise UserError(
                f"{method}: {name} {value} is more than the model grid {shape} holds; choose {most} or less."
            )

    def channels(self, name: str) -> int:
        """Return the number of channels of a network layer."""
        return find_layer(name, self.network_layers(), "the model").shape[0]


NOMINAL = Size(
    (128, 128),
    lambda: (
        NetworkLayer("bottleneck", "Conv2d", "bottleneck", (64, 8, 8), 0, convolution=True),
        NetworkLayer("last", "Conv2d", "decoder", (16, 128, 128), 1, convolution=True),
    ),
)
"""For listings without a model."""


@dataclass(frozen=True)
class Extent:
    """What the number of passes over a folder can depend on.

    Attributes
    ----------
    size
        Of the first case.
    cases, labels, concepts
        How many there are; of concepts, as far as that is known before all masks are read.
    layers
        How many network layers are looked at, of a method with the option `layers`.
    """

    size: Size
    cases: int
    labels: int
    concepts: int
    layers: int = 1


NOMINAL_EXTENT = Extent(NOMINAL, 10, 1, 1)
"""For listings without a model."""
