"""One operation of a forward pass, and what the names of operations say."""

from __future__ import annotations

from dataclasses import dataclass, field

NO_DATA = (
    "zeros_like",
    "ones_like",
    "empty_like",
    "full_like",
    "rand_like",
    "randn_like",
    "new_",
    "_local_scalar",
)
"""Operations that read the shape of a tensor or hand a number to Python: their results do not carry the image."""

SAME_VALUES = (
    "view", "_unsafe_view", "reshape", "_reshape_alias", "expand", "permute", "transpose", "t", "unsqueeze", "squeeze",
    "slice", "select", "clone", "_to_copy", "alias", "detach", "upsample_nearest1d", "upsample_nearest2d",
    "upsample_nearest3d", "upsample_bilinear2d", "upsample_trilinear3d", "native_dropout",
)  # fmt: skip
"""Operations that only rearrange values."""

ENLARGING = ("upsample", "_upsample", "max_unpool", "pixel_shuffle", "pixel_unshuffle")
"""Operations that bring a map to another resolution."""

READING = ("grid_sampler", "deform_conv")
"""Operations that read their first argument at the places that others give."""

SQUASHED = ("sigmoid", "sigmoid_", "hardsigmoid", "hardsigmoid_", "_softmax", "tanh", "tanh_")
"""Functions behind which a factor is a gate."""


@dataclass
class Node:
    """One operation on values that depend on the image.

    Attributes
    ----------
    op
        Name of the operation, as torch has it.
    reads
        Positions of the operations whose values it reads.
    main
        Those of `reads` on which the image comes along: not a gate's factor, nor what shifts all
        places alike, nor the keys and values of an attention.
    call
        Position of the innermost call of a module in which it ran; None outside of all.
    shape
        Of its (first) result.
    cells
        Places in its result, where the operation shows them (convolution, pooling, interpolation).
    channels
        Of its result, where it shows them.
    learned
        Whether weights mix channels: a convolution or a linear layer.
    pointwise
        Whether such an operation looks at single places, with all channels.
    upward
        Whether it is a transposed convolution.
    mixes
        Whether it joins what lies at different places, at the resolution that it reads: a convolution wider than one
        cell with stride 1, or an attention.
    wide
        Whether it is a convolution wider than one cell.
    attends
        Whether it is (part of) an attention.
    pairs
        Whether its result weighs pairs of places (the matrix of an attention), so that it is not a map.
    scale
        How many times larger the cells of its result are than those that it reads, per axis and however many there are
        (unpadded convolutions lose some); None where `cells` alone tells: interpolation and pooling to a given size.
    taken
        Cells per axis of the map that a convolution or pooling reads; None where that is none of a whole image.
    kept
        Share of the cells that a crop keeps.
    flips
        The axes of the grid along which it turns a map round.
    reach
        (cells by which it widens the field of view, its stride, whether it enlarges).
    names
        Positions of the calls that made it and returned it, the innermost first.
    handed
        Positions of the calls that returned it as they got it (an identity, a dropout).
    """

    op: str
    reads: tuple[int, ...]
    main: tuple[int, ...]
    call: int | None
    shape: tuple[int, ...]
    cells: int | None = None
    channels: int | None = None
    learned: bool = False
    pointwise: bool = False
    upward: bool = False
    mixes: bool = False
    wide: bool = False
    attends: bool = False
    pairs: bool = False
    scale: float | None = None
    taken: tuple[int, ...] | None = None
    kept: float = 1.0
    flips: tuple[int, ...] = ()
    reach: tuple[int, int, bool] | None = None
    names: list[int] = field(default_factory=list)
    handed: list[int] = field(default_factory=list)
