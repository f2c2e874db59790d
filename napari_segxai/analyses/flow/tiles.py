"""Tiles of an information flow: one label at one network layer, and how it is looked at: upright, cut where the viewer is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_segxai.core import orientation
from napari_segxai.core.image import Image
from napari_segxai.figures.colormaps import SIGNED
from napari_segxai.metrics.functional import layer_maps
from napari_segxai.models.introspection.layers import NetworkLayer
from napari_segxai.models.preprocessing.spatial import Placement

GROUND = 0.1
"""Grey below the colours, as below a layer in the viewer."""

DISAGREE = 0.2
"""Difference of the Dice that mean and zero ablation lose, above which they disagree."""

LOSSES = ("lost", "lost_skip", "lost_zero", "lost_skip_zero")
"""What a causal check fills in: mean ablation, then zero ablation."""

ROUTES = ("relevance", "relevance_skip")
"""What routes fill in."""

NUMBERS = (*layer_maps.NUMBERS, *LOSSES, "lost_at_most", *ROUTES)
"""Of a tile, in the order of the table."""

OPTIONAL = ("dice_truth", *LOSSES, "lost_at_most", *ROUTES)
"""Those that may be None."""


@dataclass(frozen=True)
class Remark:
    """A piece of advice about a tile.

    Attributes
    ----------
    rule
        Which rule gives it, in one word.
    words
        Its sentence, split where a number stands.
    numbers
        These numbers as they are written; one fewer than `words`.
    """

    rule: str
    words: tuple[str, ...]
    numbers: tuple[str, ...] = ()

    @classmethod
    def of(cls, rule: str, form: str, *numbers: str, **names: str) -> Remark:
        """Return a remark from its sentence, with ``{}`` for every number and ``{name}`` for every name."""
        return cls(rule, tuple(part.format(**names) for part in form.split("{}")), numbers)

    @property
    def sentence(self) -> str:
        """The whole sentence."""
        return self.written(self.numbers)

    def written(self, numbers: Sequence[str]) -> str:
        """Return the sentence with these numbers in it."""
        first, *rest = self.words
        return first + "".join(n + words for n, words in zip(numbers, rest, strict=True))


@dataclass
class Tile:
    """One label at one network layer.

    Attributes
    ----------
    label
        The label by name.
    layer
        The network layer.
    map
        (*layer grid), float32: raw and signed, in the network's axis order.
    maximum, minimum
        Of the map.
    positive, negative
        Sums of its positive and of its negative values.
    gradient_norm, activation_norm
        Mean absolute gradient and activation.
    energy_inside
        Share of the positive sum inside the prediction, in [0, 1]; NaN for a map without positive values.
    dice
        Dice of the map at half its maximum with the prediction, each cell of the layer being a block of pixels.
    dice_truth
        The same with the truth; None where none was given.
    ability
        Segmentation ability: Dice with the prediction of the layer's features split by their nearer prototype, the mean
        feature inside or outside the prediction (ProtoSeg, Sheng et al. 2022).
    lost, lost_skip
        Dice lost by mean ablation: when the layer's output, or its skip connection alone, is filled with channel means;
        None until `causal_check` has run, or where there is nothing to tell.
    lost_zero, lost_skip_zero
        The same by zero ablation: filled with zeros. None unless asked for.
    lost_at_most
        Dice lost where the label is drawn everywhere, as a network does that knows nothing of where but that the label is
        there: the control of what is lost. None until `causal_check` has run.
    relevance, relevance_skip
        Share of the score that comes through the layer's output, and across its skip connection alone, as relevance; None
        without routes, or where no skip connection leaves.
    remarks
        What to keep in mind when looking at this map.
    """

    label: str
    layer: NetworkLayer
    map: np.ndarray
    maximum: float = 0.0
    minimum: float = 0.0
    positive: float = 0.0
    negative: float = 0.0
    gradient_norm: float = 0.0
    activation_norm: float = 0.0
    energy_inside: float = float("nan")
    dice: float = 0.0
    dice_truth: float | None = None
    ability: float = 0.0
    lost: float | None = None
    lost_skip: float | None = None
    lost_zero: float | None = None
    lost_skip_zero: float | None = None
    lost_at_most: float | None = None
    relevance: float | None = None
    relevance_skip: float | None = None
    remarks: tuple[Remark, ...] = ()

    @property
    def advice(self) -> tuple[str, ...]:
        """What to keep in mind when looking at this map, in sentences."""
        return tuple(remark.sentence for remark in self.remarks)

    def share_lost(self, what: str = "lost") -> float | None:
        """Return what is lost as a share of what can be lost by drawing the label everywhere, in [0, 1].

        Parameters
        ----------
        what
            "lost", "lost_skip", or with "_zero" behind it.
        """
        lost = getattr(self, what)
        if lost is None or not self.lost_at_most:
            return lost
        return min(1.0, lost / self.lost_at_most)

    @property
    def disagreements(self) -> tuple[str, ...]:
        """Of "lost" and "lost_skip", those for which mean and zero ablation differ by more than `DISAGREE`."""
        pairs = ((name, getattr(self, name), getattr(self, f"{name}_zero")) for name in ("lost", "lost_skip"))
        return tuple(n for n, a, b in pairs if a is not None and b is not None and abs(a - b) > DISAGREE)

    def as_row(self) -> dict[str, Any]:
        """Return the numbers as a row of a table."""
        pairs = (("mean", self.lost), ("zero", self.lost_zero))
        return {
            "label": self.label,
            "layer": self.layer.name,
            "type": self.layer.type,
            "stage": self.layer.stage,
            "order": self.layer.order,
            "shape": " x ".join(map(str, self.layer.shape)),
            **{name: getattr(self, name) for name in NUMBERS},
            "ablation": " and ".join(name for name, lost in pairs if lost is not None),
            "advice": " | ".join(self.advice),
        }


def upright(values: np.ndarray, placement: Placement, image: Image) -> np.ndarray:
    """Turn an array of any resolution on the model grid to the axes that are shown, without padding.

    Parameters
    ----------
    values
        (*cells), which divide the model grid evenly.
    placement
        Where the model grid lies on the grid of the image.
    image
        The image that was looked at.

    Returns
    -------
    ndarray
        (rows, columns) or (slices, rows, columns); one slice of a volume that a 2D model saw is 2D.
    """
    inner = tuple(
        slice(round(n * inside.start / m), max(round(n * inside.start / m) + 1, round(n * inside.stop / m)))
        for n, inside, m in zip(values.shape, placement.inner, placement.shape, strict=True)
    )
    array = values[inner]
    if placement.slice is None:
        array = orientation.apply(array, orientation.invert(placement.turn))
        return np.ascontiguousarray(orientation.apply(array, image.to_display))
    array = orientation.apply(array[None], orientation.invert(placement.turn))
    array = orientation.apply(array, image.to_display)
    return np.ascontiguousarray(array.squeeze(_slice_axis(placement, image)))


def _slice_axis(placement: Placement, image: Image) -> int:
    """Return which displayed axis the slices of a 2D model lie on."""
    return image.to_display[0].index(placement.turn[0][0])


def best_position(drawn: Iterable[np.ndarray]) -> float:
    """Return the position of the slice in which labels together are largest, in [0, 1].

    Parameters
    ----------
    drawn
        For every label, upright: boolean (slices, rows, columns); or (rows, columns), for which 0.5 is returned.
    """
    total: np.ndarray | None = None
    for volume in drawn:
        if volume.ndim == 2:
            return 0.5
        sizes = volume.sum((1, 2))
        total = sizes if total is None else total + sizes
    return 0.5 if total is None else (int(total.argmax()) + 0.5) / len(total)


def extent(placement: Placement, image: Image, axis: int = 0) -> tuple[float, float]:
    """Return height and width of a tile in the image's units, of a volume cut along a displayed axis."""
    order, shape = image.to_display[0], list(image.spatial_shape)
    for axis, size in zip(placement.turn[0][-len(placement.seen_shape) :], placement.seen_shape, strict=True):
        shape[axis] = size  # what is cropped away is not shown
    sizes = [shape[k] * image.spacing[k] for k in order]
    if len(sizes) == 3:
        del sizes[axis if placement.slice is None else _slice_axis(placement, image)]
    return sizes[0], sizes[1]


def limit(tiles: Iterable[Tile]) -> float:
    """Return the value at which the colour scale of tiles ends: their largest, whatever its sign; 1 if that is 0."""
    return max(max(abs(tile.maximum), abs(tile.minimum)) for tile in tiles) or 1.0


def colors(values: np.ndarray, end: float) -> np.ndarray:
    """Return signed values as RGB bytes (*values, 3): blue at -end and below, dark at 0, red at end and above."""
    steps = np.linspace(-1, 1, len(SIGNED["colors"]))
    share = np.clip(np.nan_to_num(values) / end, -1, 1)
    opaque = SIGNED["colors"][:, 3:] * SIGNED["colors"][:, :3] + (1 - SIGNED["colors"][:, 3:]) * GROUND
    rgb = np.stack([np.interp(share, steps, opaque[:, k]) for k in range(3)], -1)
    return np.rint(255 * rgb).astype(np.uint8)


def edge(mask: np.ndarray, cells: int) -> np.ndarray:
    """Return the rim of a boolean (rows, columns), thinned out to at most so many cells along each axis."""
    step = max(1, -(-max(mask.shape) // cells))
    small = mask[step // 2 :: step, step // 2 :: step]
    around = np.pad(small, 1)
    inner = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return small & ~inner


def facing(layers: Sequence[NetworkLayer]) -> list[tuple[list[NetworkLayer], list[NetworkLayer]]]:
    """Return one row per resolution, the finest first: layers up to the bottleneck, and those after it.

    What is encoded and decoded at the same resolution stands side by side.
    """
    sizes = sorted({layer.shape[1:] for layer in layers}, key=lambda shape: -int(np.prod(shape)))
    rows = []
    for size in sizes:
        same = [layer for layer in layers if layer.shape[1:] == size]
        before = [layer for layer in same if layer.stage in ("encoder", "bottleneck")]
        rows.append((before, [layer for layer in same if layer not in before]))
    return rows
