"""What of explanations goes into a folder for 3D Slicer: segments, points and maps on the grid of its files."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.core import orientation
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.target import Box, Component, Point
from napari_segxai.core.text_table import counted
from napari_segxai.figures.colormaps import MASK_COLORS, OTHER_MASK, stage_colors
from napari_segxai.io.names import file_names
from napari_segxai.io.slicer.markups import Mark
from napari_segxai.io.slicer.segmentation import Layer, Segment, packed
from napari_segxai.models.ground_truth import Truth, truth_labels, truth_of
from napari_segxai.models.labeling import Labeling

RIGHT_ANGLES = 1e-4
"""By how much the product of two axes of length 1 may differ from 0."""

GOLDEN = 0.618
"""Share of the circle of hues between two labels: then neighbours differ, however many there are."""


@dataclass(frozen=True)
class Grid:
    """How the image grid lies in the files.

    Attributes
    ----------
    image
        Without channels, time and the header of its file: what is written beside it has one place, and nothing of a patient.
    """

    image: Image

    @classmethod
    def of(cls, image: Image) -> Grid:
        """Return the grid of an image.

        Raises
        ------
        UserError
            If its axes are not at right angles: then it has no place in a file of 3D Slicer.
        """
        bare = replace(
            image,
            array=np.broadcast_to(np.uint8(0), image.spatial_shape),
            channel_axis=None,
            time_axis=None,
            header={},
        )
        grid = cls(bare)
        directions = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
        if not np.allclose(directions.T @ directions, np.eye(3), atol=RIGHT_ANGLES):
            raise UserError(
                f"{image.name} is sheared: its axes are not at right angles, as those of images in 3D Slicer are; resample it "
                "to a grid with right angles and explain it again."
            )
        return grid

    @cached_property
    def _stored(self) -> tuple[orientation.Reorientation, np.ndarray]:
        from napari_segxai.io.nifti.write import storage_of

        turn, affine, _ = storage_of(self.image)
        return turn, affine.astype(np.float32).astype(float)  # as NIfTI holds it: all files say the same

    @property
    def affine(self) -> np.ndarray:
        """4x4, from indices of the files to RAS+ millimetres."""
        return self._stored[1]

    @property
    def _three(self) -> tuple[int, ...]:
        return (1,) * (3 - self.image.spatial_dims) + self.image.spatial_shape

    def volume(self, array: np.ndarray) -> np.ndarray:
        """Return an array on the image grid with the three axes of the files; a view."""
        return orientation.apply(array.reshape(self._three), self._stored[0])

    def place(self, index: Sequence[int]) -> tuple[float, float, float]:
        """Return where a pixel of the image lies: RAS+, millimetres."""
        three = (*(0,) * (3 - len(index)), *index)
        order, flips = self._stored[0]
        there = [
            self._three[axis] - 1 - three[axis] if flip else three[axis]
            for axis, flip in zip(order, flips, strict=True)
        ]
        x, y, z = (self.affine @ [*there, 1.0])[:3]
        return float(x), float(y), float(z)


def layers_of(
    explanations: Sequence[Explanation], grid: Grid, truth: Truth | None
) -> tuple[list[Layer], list[str]]:
    """Return all regions as layers of segments, and what was done to bring the truth there."""
    found: list[tuple[np.ndarray, Segment]] = []
    layers: list[Layer] = []
    for explanation in explanations:
        if (asked := _asked(explanation)) is not None:
            found.append((asked, Segment(f"asked region ({_of(explanation)})", _rgb(OTHER_MASK))))
        for name, mask in explanation.masks.items():
            color = _rgb(MASK_COLORS.get(name, OTHER_MASK))
            found.append((mask, Segment(f"{explanation.name_of(name)} ({_of(explanation)})", color)))
    layers += packed(found)
    models = {(own.record.model["name"], own.record.model["sha256"]): own for own in explanations}
    labels = {own.record.target["label"] for own in explanations}
    for (name, _), explanation in models.items():
        of = f" of {name}" if len(models) > 1 else ""
        layers += _label_layers(f"prediction{of}", explanation, explanation.prediction, labels)
    notes: list[str] = []
    if truth is not None:
        values, notes = _truth(explanations, truth)
        layers += _label_layers("truth", explanations[0], values, labels, pale=True)
    for explanation in explanations:
        if explanation.stages is not None:
            layers.append(_stages(explanation))
    return [Layer(grid.volume(layer.values), layer.segments) for layer in layers], notes


def _of(explanation: Explanation) -> str:
    """Return method and label in brackets' words: commas, since some readers of segments know ASCII alone."""
    return f"{explanation.record.method}, {explanation.record.target['label']}"


def _asked(explanation: Explanation) -> np.ndarray | None:
    """Return the region that was asked about, if it was drawn or is a box."""
    region = explanation.target.region
    if explanation.region is not None:
        return explanation.region
    if not isinstance(region, Box):
        return None
    mask = np.zeros(explanation.map.shape, bool)
    mask[tuple(slice(low, high + 1) for low, high in zip(region.low, region.high, strict=True))] = True
    return mask


def _label_layers(
    what: str, explanation: Explanation, values: np.ndarray, asked: set[str], *, pale: bool = False
) -> list[Layer]:
    """Return a prediction, or a truth of its form: labels that are somewhere, and those that were asked about."""
    names = explanation.record.model["labels"]

    def segment(k: int) -> Segment:
        hue = (k * GOLDEN) % 1
        color = colorsys.hsv_to_rgb(hue, 0.45 if pale else 0.85, 1.0 if pale else 0.9)
        return Segment(f"{what}: {names[k]}", color, shown=names[k] in asked)

    if explanation.overlapping:
        kept = [k for k in range(1, len(names)) if names[k] in asked or values[k - 1].any()]
        return packed((values[k - 1], segment(k)) for k in kept)
    there = set(np.unique(values).tolist())
    kept = [k for k in range(1, len(names)) if k in there or names[k] in asked]
    foreground = np.where(np.isin(values, kept), values, 0)
    return [Layer(foreground, {k: segment(k) for k in kept})] if kept else []


def _stages(explanation: Explanation) -> Layer:
    """Return the dilation stages, numbered as in the image of stages."""
    colors = stage_colors(len(explanation.stage_table))
    segments = {}
    for row in explanation.stage_table:
        number, dilations = int(row["stage"]), row.get("dilations")
        words = "" if dilations is None else f", {counted(dilations, 'dilation')}"
        color = tuple(float(part) for part in colors[number][:3])
        segments[number] = Segment(f"stage {number}{words} ({_of(explanation)})", color, shown=False)  # type: ignore[arg-type]
    return Layer(explanation.stages, segments)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Recorded:
    """What a record says of a model, as far as reading a truth asks it."""

    name: str
    labels: Sequence[str]
    labeling: Labeling
    painting: tuple[int, ...] | None
    ignored_values: tuple[int, ...] = ()
    """No record says them."""

    @property
    def overlapping(self) -> bool:
        return self.labeling.overlapping

    @property
    def card(self) -> _Recorded:
        return self

    def label_index(self, name: str | int) -> int:
        if name not in self.labels:
            raise UserError(f"the truth names a label {name!r}; {self.name} has {', '.join(self.labels)}.")
        return self.labels.index(name)  # type: ignore[arg-type]


def _truth(explanations: Sequence[Explanation], truth: Truth) -> tuple[np.ndarray, list[str]]:
    """Return a truth as a prediction has it; of labels that may overlap those that were asked about."""
    told = explanations[0].record.model
    thresholds, order = told.get("thresholds"), told.get("paint_order")
    model = _Recorded(
        told["name"],
        told["labels"],
        Labeling(None if thresholds is None else tuple(thresholds.values())),
        None if order is None else tuple(map(told["labels"].index, order)),
    )
    image, asked = explanations[0].image, [own.record.target["label"] for own in explanations]
    boolean = not isinstance(truth, Mapping | Image) and np.asarray(truth).dtype.kind == "b"
    if not model.overlapping:
        given: Truth = {asked[0]: truth} if boolean else truth  # type: ignore[dict-item]
        wanted = [model.label_index(name) for name in given] if isinstance(given, Mapping) else None
        return truth_labels(given, image, model, wanted)  # type: ignore[arg-type]
    out = model.labeling.blank(len(model.labels), image.spatial_shape)
    notes: list[str] = []
    for name in dict.fromkeys(asked):
        k = model.label_index(name)
        mask, said = truth_of(truth, image, model, k)  # type: ignore[arg-type]
        notes += said
        if k:
            out[k - 1] = mask
    return out, list(dict.fromkeys(notes))


def marks_of(explanations: Sequence[Explanation], grid: Grid) -> list[Mark]:
    """Return the points that were asked about, and the extreme points of the maps."""
    marks: dict[Mark, None] = {}
    for explanation in explanations:
        region = explanation.target.region
        if isinstance(region, Point | Component):
            said = "pixel" if isinstance(region, Point) else "connected component that holds this pixel"
            label = explanation.record.target["label"]
            marks[Mark(f"asked ({label})", f"{said} {region.at}", grid.place(region.at))] = None
        marks |= dict.fromkeys(_extremes(explanation, grid))
    return list(marks)


def _extremes(explanation: Explanation, grid: Grid) -> Iterator[Mark]:
    values = explanation.map
    low, high = float(values.min()), float(values.max())
    for word, end, there in (("highest", high, high > max(low, 0)), ("lowest", low, low < 0)):
        if not there:
            continue
        index = tuple(int(k) for k in np.unravel_index((values == end).argmax(), values.shape))
        count = int((values == end).sum())
        others = f"; {count - 1} other pixels have it, too" if count > 1 else ""
        said = f"{end:.6g} at pixel {index}{others}"
        yield Mark(f"{word} ({_of(explanation)})", said, grid.place(index))


def map_names(
    explanations: Sequence[Explanation], further: Mapping[str, np.ndarray]
) -> dict[tuple[int, str], tuple[str, str]]:
    """Return file and title of every map.

    Parameters
    ----------
    further
        Maps of no method, by name.

    Returns
    -------
    dict
        By the position of the explanation and the name of its map, "" for the saliency map itself; -1 and the name for
        `further`.
    """
    keys: dict[tuple[int, str], tuple[str, ...]] = {}
    titles: dict[tuple[int, str], str] = {}
    for position, own in enumerate(explanations):
        for name in ("", *own.maps):
            words = own.record.method, str(own.record.target["label"]), *([name] if name else [])
            keys[position, name], titles[position, name] = ("map", *words), " · ".join(words)
    for name in further:
        keys[-1, name], titles[-1, name] = ("map", name), name
    files = file_names(keys.values())
    return {which: (f"{files[key]}.nii.gz", titles[which]) for which, key in keys.items()}


def _rgb(color: str) -> tuple[float, float, float]:
    red, green, blue = (int(color[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return red, green, blue
