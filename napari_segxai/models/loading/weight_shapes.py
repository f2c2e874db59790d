"""What weights tell of their network by themselves: the shapes of its first and last convolution."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from napari_segxai.models.loading.weights import (
    AUXILIARY,
    AVERAGED,
    OF_TRAINING,
    nearest_state,
    state_dicts,
)

INPUTS = frozenset(
    [
        "in_channels",
        "in_chans",
        "in_channel",
        "in_ch",
        "input_channels",
        "input_channel",
        "input_nc",
        "inp_channels",
        "inp_ch",
        "n_channels",
        "num_channels",
        "nchannels",
        "n_input_channels",
        "num_input_channels",
        "num_inputs",
        "n_inputs",
        "channels_in",
        "img_ch",
        "img_channels",
        "image_channels",
        "in_dim",
        "in_dims",
        "input_dim",
        "in_features_channels",
        "n_in",
        "ch_in",
        "inchannels",
        "inplanes_in",
    ]
)
"""What constructors call the number of input channels."""

OUTPUTS = frozenset(
    [
        "out_channels",
        "out_channel",
        "out_chans",
        "out_ch",
        "output_channels",
        "output_channel",
        "output_nc",
        "n_classes",
        "num_classes",
        "n_class",
        "num_class",
        "nclass",
        "nclasses",
        "classes",
        "class_num",
        "num_labels",
        "n_labels",
        "n_outputs",
        "num_outputs",
        "channels_out",
        "out_dim",
        "n_out",
        "ch_out",
        "outchannels",
        "n_output_channels",
        "num_output_channels",
    ]
)
"""What constructors call the number of outputs."""

DIMS = frozenset(
    [
        "spatial_dims",
        "spatial_dim",
        "dimensions",
        "n_dims",
        "ndim",
        "ndims",
        "num_dims",
        "img_dim",
        "conv_dim",
    ]
)
"""What constructors call the number of spatial axes."""

KEPT = ("hyper_parameters", "hparams")
"""Where training tools leave the arguments of what they trained."""


@dataclass(frozen=True)
class WeightShapes:
    """What a file of weights tells of its network; None for what it does not.

    Attributes
    ----------
    spatial_dims
        2 or 3, where all its convolutions agree.
    inputs, outputs
        Channels of the first convolution, and outputs of the last.
    hyperparameters
        Plain values that training left beside the weights, by name.
    """

    spatial_dims: int | None = None
    inputs: int | None = None
    outputs: int | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self, names: Iterable[str]) -> dict[str, int]:
        """Return the values of those arguments of a constructor that shapes tell."""
        told = ((INPUTS, self.inputs), (OUTPUTS, self.outputs), (DIMS, self.spatial_dims))
        found = {name: value for name in names for known, value in told if name in known}
        return {name: value for name, value in found.items() if value is not None}


def shapes_of(saved: Any, network: Mapping[str, Tensor] | None = None) -> WeightShapes:
    """Read the shapes of weights.

    Parameters
    ----------
    saved
        What `read_weights` returned.
    network
        State of a network with the same names, in whose order they are taken; by default in that of the file.
    """
    if network is not None:
        nearest = nearest_state(saved, network)
        return _shapes({key: nearest[key] for key in network if key in nearest}, saved)
    found = [(bool(AVERAGED.search(at)), -len(state), at, state) for at, state in state_dicts(saved)]
    return _shapes(min(found, key=lambda one: one[:3])[3] if found else {}, saved)


def _shapes(state: Mapping[str, Tensor], saved: Any) -> WeightShapes:
    kernels = {
        key: value
        for key, value in state.items()
        if value.ndim in (4, 5)
        and min(value.shape) > 0
        and not AUXILIARY.search(key)
        and not OF_TRAINING.search(key.partition(".")[0])
    }
    dims = {value.ndim - 2 for value in kernels.values()}
    if not kernels:
        return WeightShapes(hyperparameters=_plain(saved))
    first, last = next(iter(kernels.values())), next(reversed(kernels.items()))
    return WeightShapes(
        dims.pop() if len(dims) == 1 else None, first.shape[1], _outputs(state, *last), _plain(saved)
    )


def _outputs(state: Mapping[str, Tensor], name: str, kernel: Tensor) -> int | None:
    """Return the number of outputs of a convolution: of one that is transposed they lie on its second axis."""
    bias = state.get(name.removesuffix("weight") + "bias") if name.endswith("weight") else None
    if bias is not None and bias.ndim == 1 and len(bias) in kernel.shape[:2]:
        return len(bias)
    return kernel.shape[0] if math.prod(kernel.shape[2:]) == 1 else None


def _plain(saved: Any) -> dict[str, Any]:
    """Return the plain values among what training left beside the weights."""
    out: dict[str, Any] = {}
    for key in KEPT:
        kept = saved.get(key) if isinstance(saved, Mapping) else None
        if isinstance(kept, Mapping):
            out |= {name: value for name, value in kept.items() if isinstance(name, str) and _is_plain(value)}
    return out


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, bool | int | float | str)
