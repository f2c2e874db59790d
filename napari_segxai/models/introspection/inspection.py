"""What one traced pass tells of a network: its layers, the calls of its modules, and what they are for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from napari_segxai.models.introspection.layers import NetworkLayer, list_layers, outline
from napari_segxai.models.introspection.roles import Roles
from napari_segxai.models.introspection.trace import Call, Trace


@dataclass(frozen=True)
class Inspection:
    """What one traced pass tells of a network.

    Attributes
    ----------
    layers
        The network layers in order of execution.
    calls
        Every call of a module.
    roles
        What the network layers are for.
    """

    layers: tuple[NetworkLayer, ...]
    calls: tuple[Call, ...]
    roles: Roles

    @classmethod
    def of(cls, trace: Trace, strides: Mapping[str, int]) -> Inspection:
        """Read a traced pass; `strides` are those of tokens, as the model card declares them."""
        layers, roles = list_layers(trace, strides)
        return cls(layers, trace.calls, roles)

    @cached_property
    def outline(self) -> tuple[NetworkLayer, ...]:
        """The main blocks of the network, in order of execution."""
        return tuple(outline(self.calls, self.layers, followed=self.roles.last is not None))

    @property
    def largest_map(self) -> int:
        """Numbers in the largest feature map."""
        return max(math.prod(layer.shape) for layer in self.layers)
