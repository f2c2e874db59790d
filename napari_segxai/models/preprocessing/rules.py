"""What a card says of the way from an image to the model grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Padding(BaseModel):
    """What is put around the image on the grid, behind `crop` and before `multiple` of the grid.

    Attributes
    ----------
    border
        So many cells before every axis and behind it.
    size
        Every axis gets so many cells at least; 0 for one that stays as it is.
    multiple
        Every axis gets to a multiple of its number; beside `size`, to that and so many times this more.
    at
        Of `multiple` and `size`: what is lacking lies at "both" ends, the odd cell behind, or at the "end" alone.
    mode
        What is there: "constant", or the image mirrored ("reflect") or its edge repeated ("replicate").
    value
        Of "constant": the value; that of hidden pixels by default, as for `multiple` of the grid.
    value_of
        Whether that is one of the "network", behind the intensity steps, or of the "image", which goes through them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    multiple: tuple[Annotated[int, Field(ge=1, le=2**14)], ...] | None = None
    size: tuple[Annotated[int, Field(ge=0, le=2**14)], ...] | None = None
    border: (
        tuple[tuple[Annotated[int, Field(ge=0, le=2**14)], Annotated[int, Field(ge=0, le=2**14)]], ...] | None
    ) = None
    at: Literal["both", "end"] = "both"
    mode: Literal["constant", "reflect", "replicate"] = "constant"
    value: float | None = Field(None, allow_inf_nan=False)
    value_of: Literal["network", "image"] = "network"

    @model_validator(mode="after")
    def _one_rule(self) -> Padding:
        if not self.rules:
            raise ValueError("pad needs a border, a size or a multiple")
        if self.value is not None and self.mode != "constant":
            raise ValueError("a value goes with the mode constant")
        return self

    @property
    def rules(self) -> list[tuple[object, ...]]:
        """What is given of border, size and multiple: an entry per axis."""
        return [rule for rule in (self.border, self.size, self.multiple) if rule is not None]

    def around(self, shape: Sequence[int]) -> list[tuple[int, int]]:
        """Return how many cells are put before and behind every axis of a shape."""
        out = []
        for axis, n in enumerate(shape):
            before, behind = (0, 0) if self.border is None else self.border[axis]
            least = 0 if self.size is None else self.size[axis]
            step = 1 if self.multiple is None else self.multiple[axis]
            n += before + behind
            lacking = least - n if n < least else (least - n) % step
            half = lacking // 2 if self.at == "both" else 0
            out.append((before + half, behind + lacking - half))
        return out


class Grid(BaseModel):
    """The grid on which the network works. With nothing given, it is the image's own grid.

    Attributes
    ----------
    crop
        "nonzero": only the box of the pixels of which any channel is not 0 is taken to the grid, "positive": of those of which any
        is above 0 (MONAI's CropForeground); nothing is predicted around it.
    crop_on
        Where these pixels are looked for: in the "image", before it is resampled; on the "grid", in the resampled image; or in what the
        "network" sees, behind the intensity steps. The steps measure the whole image in the last two cases.
    size
        Fixed size; the oriented image is resampled to it, whatever its spacing.
    spacing
        Spacing in mm to resample to; the size follows from the image.
    shortest_edge
        The shortest axis gets so many cells, and the others follow: pixels keep their shape, as torchvision and Hugging Face resize photographs.
    longest_edge
        Beside `shortest_edge`: the most cells that an axis gets; the shortest one gets less where it has to.
    edge_multiple
        Beside `shortest_edge`: every axis is resampled to the next multiple of this, so that pixels are stretched a little.
    pad
        What is put around the image on the grid, see `Padding`.
    multiple
        The size is padded at the end of every axis to a multiple of this (unless `size` is given).
    interpolation
        How intensities are resampled: "nearest", "linear", "bicubic" (of pictures, with smoothing where they shrink, as PIL and
        torchvision do), "cubic" (splines of order 3 without smoothing, as nnU-Net does) or "area" (the mean of what a cell covers).
        What comes back from the grid is resampled linearly, for these three as well.
    antialias
        Whether 2D images are smoothed before they are resampled linearly to fewer cells. Volumes are not.
    align
        "edges": image and grid cover the same extent, so that the spacing is met but for rounding; "centers": the first cell lies on
        the first pixel and the others exactly at the spacing, wherever the last one comes to lie (MONAI's Spacing).
    back
        What is brought to the image where its pixels are others than the cells, before labels are drawn: "logits" or
        "probabilities", linearly; or "labels", of the nearest cell.
    coarse_axis
        How an axis is resampled whose pixels are more than three times as long as the shortest, in the image or on the grid:
        "together" with the others, or by itself after them, to the "nearest" slice or "linear" (nnU-Net's separate z).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    crop: Literal["nonzero", "positive"] | None = None
    crop_on: Literal["image", "grid", "network"] = "image"
    pad: Padding | None = None
    size: tuple[int, ...] | None = None
    spacing: tuple[float, ...] | None = None
    shortest_edge: int | None = Field(None, ge=1)
    longest_edge: int | None = Field(None, ge=1)
    edge_multiple: int = Field(1, ge=1)
    multiple: int = Field(1, ge=1)
    interpolation: Literal["nearest", "linear", "bicubic", "cubic", "area"] = "linear"
    antialias: bool = True
    align: Literal["edges", "centers"] = "edges"
    back: Literal["logits", "probabilities", "labels"] = "logits"
    coarse_axis: Literal["together", "nearest", "linear"] = "together"

    @model_validator(mode="after")
    def _one_rule(self) -> Grid:
        if sum(rule is not None for rule in (self.size, self.spacing, self.shortest_edge)) > 1:
            raise ValueError("give either a size or a spacing or a shortest_edge, not two of them")
        if self.crop_on != "image" and self.crop is None:
            raise ValueError("crop_on goes with a crop")
        if self.longest_edge is not None and (
            self.shortest_edge is None or self.longest_edge < self.shortest_edge
        ):
            raise ValueError("longest_edge goes with a shortest_edge that is not longer")
        if self.edge_multiple != 1 and self.shortest_edge is None:
            raise ValueError("edge_multiple goes with a shortest_edge")
        if self.size is not None and (self.multiple != 1 or any(n < 1 for n in self.size)):
            raise ValueError("a fixed size is positive and takes no multiple")
        if self.spacing is not None and not all(0 < s < math.inf for s in self.spacing):
            raise ValueError("spacing is a positive number of millimetres")
        if self.coarse_axis != "together" and self.spacing is None:
            raise ValueError("coarse_axis is for grids with a spacing; without one no axis is coarser")
        if self.align == "centers" and (
            self.spacing is None
            or self.coarse_axis != "together"
            or self.interpolation not in ("nearest", "linear")
        ):
            raise ValueError(
                "align: centers is for grids with a spacing, interpolation nearest or linear, and all axes together"
            )
        return self

    def frame(self, box: Sequence[tuple[int, int]], multiples: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Return from where to where the network sees the resampled image, with what is put around it.

        Parameters
        ----------
        box
            What is left of every axis by cropping: (start, stop).
        multiples
            Of which the size has to be a multiple, per axis.
        """
        around = [(0, 0)] * len(box) if self.pad is None else self.pad.around([b - a for a, b in box])
        ends = [
            (start - before, stop + behind)
            for (start, stop), (before, behind) in zip(box, around, strict=True)
        ]
        return tuple((a, b + (a - b) % many) for (a, b), many in zip(ends, multiples, strict=True))

    def framed(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of the grid for a resampled image of a shape of which nothing is cropped."""
        ends = self.frame([(0, n) for n in shape], (self.multiple,) * len(shape))
        return tuple(b - a for a, b in ends)

    def example(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return a shape of the grid that some image has, near a shape that suits networks: its border is a part of that."""
        pad = self.pad
        if self.size is not None or pad is None or pad.border is None:
            return self.framed(shape)
        rest = pad.model_copy(update={"border": None}) if pad.size or pad.multiple else None
        return self.model_copy(update={"pad": rest}).framed(shape)

    def fixed_size(self, shape: Sequence[int]) -> tuple[int, ...] | None:
        """Return the size to which pixels of this shape are resampled, where it does not depend on how long they are; None else.

        Rounded as Hugging Face's image processors do.
        """
        if self.size is not None or self.shortest_edge is None:
            return self.size
        least, most, wanted = min(shape), max(shape), float(self.shortest_edge)
        if self.longest_edge is not None and most / least * wanted > self.longest_edge:
            wanted = self.longest_edge * least / most
        sizes = [max(1, round(wanted) if n == least else int(wanted * n / least)) for n in shape]
        return tuple(-(-n // self.edge_multiple) * self.edge_multiple for n in sizes)


class Intensity(BaseModel):
    """One intensity step: exactly one key, and perhaps `channels`, `jointly` and `eps`. Steps run in their order, on what the card's
    `intensity_on` says.

    Attributes
    ----------
    clip
        Clip to [low, high], in image units.
    clip_percentiles
        Clip to these two percentiles of the image.
    rescale
        Map the image's minimum and maximum linearly to [low, high].
    window
        Clip to [low, high] in image units and map that range to [0, 1].
    zscore
        Subtract each channel's mean and divide by its standard deviation (with n - 1 in the denominator).
    standardize
        The same with n in the denominator: over the "image", or over "nonzero", where any channel is not 0 and in the holes
        of that; what lies outside stays 0 then; or over "nonzero values", those of all channels together that are not 0: zeros
        stay 0 then (MONAI's NormalizeIntensity).
    unit_range
        Map each channel's own minimum and maximum to 0 and 1.
    percentile_range
        Map these two percentiles of each channel to 0 and 1, without clipping.
    divide
        Divide by a number.
    normalize
        Subtract a mean and divide by a standard deviation per channel.
    scale_shift
        Multiply by the first number and add the second.
    channels
        Names of the channels that the step is for; all by default. It measures these alone.
    jointly
        Of ``standardize: image`` and `percentile_range`: measured over all channels together, not over each.
    eps
        Of the same: what is added to the standard deviation, or to the distance of the percentiles, before it divides.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    clip: tuple[float, float] | None = None
    clip_percentiles: tuple[float, float] | None = None
    rescale: tuple[float, float] | None = None
    window: tuple[float, float] | None = None
    zscore: Literal[True] | None = None
    standardize: Literal["image", "nonzero", "nonzero values"] | None = None
    unit_range: Literal[True] | None = None
    percentile_range: tuple[float, float] | None = None
    divide: float | None = None
    normalize: dict[Literal["mean", "std"], tuple[float, ...]] | None = None
    scale_shift: tuple[float, float] | None = None
    channels: tuple[str, ...] | None = Field(None, min_length=1)
    jointly: Literal[True] | None = None
    eps: float | None = Field(None, gt=0, le=1)

    @property
    def kind(self) -> str:
        """The key that is given."""
        return next(name for name in type(self).model_fields if name in self.model_fields_set)

    @model_validator(mode="after")
    def _exactly_one(self) -> Intensity:
        given = self.model_fields_set - {"channels", "jointly", "eps"}
        if len(given) != 1 or getattr(self, self.kind) is None:
            raise ValueError("an intensity step has exactly one key, and channels where it is not for all")
        if (self.jointly or self.eps) and self.standardize != "image" and self.percentile_range is None:
            raise ValueError("jointly and eps are for `standardize: image` and percentile_range")
        for name in ("clip", "clip_percentiles", "rescale", "window", "percentile_range"):
            pair = getattr(self, name)
            if pair is not None and not pair[0] < pair[1]:
                raise ValueError(f"{name} needs the lower value first")
        for name in ("rescale", "window", "scale_shift"):
            if not all(map(math.isfinite, getattr(self, name) or ())):
                raise ValueError(f"{name} needs finite numbers")
        for name in ("clip_percentiles", "percentile_range"):
            percentiles = getattr(self, name)
            if percentiles is not None and not (percentiles[0] >= 0 and percentiles[1] <= 100):
                raise ValueError(f"{name} lie between 0 and 100")
        if self.divide is not None and not 0 < abs(self.divide) < math.inf:
            raise ValueError("divide needs a finite number other than 0")
        if self.normalize is not None:
            known = set(self.normalize) == {"mean", "std"} and all(self.normalize.values())
            if not known or not all(0 < s < math.inf for s in self.normalize["std"]):
                raise ValueError("normalize needs a mean and a positive std per channel")
            if not all(map(math.isfinite, self.normalize["mean"])):
                raise ValueError("normalize needs finite numbers")
        return self
