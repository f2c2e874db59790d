"""What a metric gets to see: one map, the regions to compare it with, and what the network made of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.arrays import is_even, unit
from napari_segxai.core.options import option
from napari_segxai.engine.masking.baselines import HELP, Baseline, Hide
from napari_segxai.engine.question import Question
from napari_segxai.metrics.functional import sufficiency
from napari_segxai.metrics.functional.chance import DRAWS
from napari_segxai.metrics.functional.faithfulness import Direction, shares_of
from napari_segxai.metrics.functional.localization import Form, Ties
from napari_segxai.metrics.functional.noise import NoiseModel, noise_behind
from napari_segxai.metrics.functional.order import ranks
from napari_segxai.metrics.functional.thresholding import Keep, Kind, boxed, region, tight_box
from napari_segxai.metrics.functional.topology import Direction as Warped
from napari_segxai.metrics.functional.topology import Warping, warping_error
from napari_segxai.metrics.perturbed_copies import Copies, Reader, Responses, between, crop, kept, whole_way


@dataclass(frozen=True)
class Options:
    """Parameters of an evaluation; they hold for all maps and all metrics alike."""

    threshold: Kind = option(
        "mean", help="how a map becomes a region: mean, share of maximum or mass, or fixed"
    )
    level: float | None = option(
        None, ge=0, help="value of the threshold; by default 1 x mean, 0.2 of maximum or mass, 0.5 fixed"
    )
    components: Keep = option("largest", help="regions: the largest component, or all, each with its own box")
    binarize: float = option(
        0.1, ge=0, le=1, help="Dice explained and ratios: threshold of the map in [0, 1]"
    )
    baseline: Baseline = option("background", help=HELP)
    steps: int = option(28, ge=2, help="steps of insertion and deletion")
    insertion_canvas: Baseline = option("background", help="insertion: " + HELP, advanced=True)
    deletion_canvas: Baseline = option("background", help="deletion: " + HELP, advanced=True)
    ties: Ties = option(
        "any",
        help="pointing game: whether any or all of several highest pixels have to hit, or the share that does",
    )
    tolerance: float = option(
        0.0, ge=0, unit="mm, or the image's unit", help="pointing game: distance that still counts as a hit"
    )
    tau: float = option(0.2, ge=0, le=1, help="box accuracy: threshold as a share of the maximum")
    sigma: float = option(0.5, ge=0, le=1, help="box accuracy: IoU that counts as a hit")
    chance: int = option(
        DRAWS,
        ge=0,
        help="number of random maps of equal area beside every Dice explained, PPS and pointing number; 0 for none",
        advanced=True,
    )
    boundary: float = option(
        3.0, gt=0, unit="mm, or the image's unit", help="width of the boundary on either side of the outline"
    )


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One map and everything that a metric may need.

    Attributes
    ----------
    name
        Of the map.
    map
        (*grid): raw and signed, float64.
    prediction
        Boolean (*grid): the object, the pixels of the target that are predicted as its label.
    truth
        Boolean (*grid), if known.
    ignored
        Boolean (*grid): where nobody has labelled anything; None for nowhere. Metrics that need the truth get `labelled`.
    spacing
        Size of a pixel per axis, in the image's units ("mm" stands for these).
    options
        The same for all maps.
    question
        The network, the input and the target; metrics that need none work without.
    reader
        What reads the object from the network's outputs; None without a question or without an object.
    map_to_model, mask_to_model
        Bring a map, or a boolean mask, (*grid) to the model grid, on the question's device.
    mask_from_model
        Brings a boolean mask back: (*model grid) -> (*grid).
    hide
        `Question.hide`, remembered for all maps: a blurred or noisy baseline is dear.
    noise_model
        See `noise.NoiseModel`.
    seen
        What the network made of the copies, by their keys.
    """

    name: str
    map: np.ndarray
    prediction: np.ndarray
    truth: np.ndarray | None
    spacing: tuple[float, ...]
    options: Options
    question: Question | None = None
    reader: Reader | None = None
    map_to_model: Callable[[np.ndarray], Tensor] | None = None
    mask_to_model: Callable[[np.ndarray], Tensor] | None = None
    mask_from_model: Callable[[Tensor], np.ndarray] | None = None
    hide: Callable[[Baseline], Hide] | None = None
    noise_model: NoiseModel | None = None
    ignored: np.ndarray | None = None
    seen: dict[Hashable, Responses] = field(default_factory=dict)

    # -- on the image's grid --------------------------------------------------------------------------

    @cached_property
    def labelled(self) -> Evaluation:
        """The same without what nobody has labelled: nothing is predicted, true or on the map there."""
        if self.ignored is None:
            return self
        nothing = ~self.ignored
        return replace(
            self,
            map=np.where(nothing, self.map, 0),
            prediction=self.prediction & nothing,
            truth=None if self.truth is None else self.truth & nothing,
            ignored=None,
        )

    @cached_property
    def unit(self) -> np.ndarray:
        """The positive part of the map, scaled to [0, 1]."""
        return unit(self.map)

    @cached_property
    def binarized(self) -> np.ndarray:
        """Boolean (*grid): the scaled map at or above `Options.binarize`."""
        return sufficiency.binarized(self.map, self.options.binarize)

    @cached_property
    def _found(self) -> dict[Form, np.ndarray]:
        o = self.options
        mask = region(self.map, o.threshold, o.level, o.components)
        return {"mask": mask, "box": boxed(mask, o.components)}

    def found(self, form: Form) -> np.ndarray:
        """Return the map's region: boolean (*grid), empty if the map has no positive value."""
        return self._found[form]

    @cached_property
    def _wanted(self) -> dict[Form, np.ndarray]:
        return {"mask": self.truth, "box": boxed(self.truth, self.options.components)}

    def wanted(self, form: Form) -> np.ndarray:
        """Return the truth's region: boolean (*grid)."""
        return self._wanted[form]

    def warping(self, form: Form, direction: Warped = "truth") -> Warping | None:
        """Compare the topology of the map's region and the truth's; None if either is empty."""
        known = self.__dict__.setdefault("_warpings", {})
        if (form, direction) not in known:
            found, wanted = self.found(form), self.wanted(form)
            both = found.any() and wanted.any()
            known[form, direction] = warping_error(found, wanted, direction=direction) if both else None
        return known[form, direction]

    # -- on the model grid ------------------------------------------------------------------------------

    @cached_property
    def soft_masks(self) -> Tensor:
        """The scaled map as a mask: (1, 1, *model grid)."""
        # scaled before it is resampled: afterwards an even map is even up to rounding only
        return self.map_to_model(self.unit).clamp(0, 1)[None, None]

    @cached_property
    def binarized_masks(self) -> Tensor:
        """The binarized map as a mask: (1, 1, *model grid), 0 and 1."""
        return self.mask_to_model(self.binarized).float()[None, None]

    @cached_property
    def areas(self) -> tuple[int, ...]:
        """Pixels on the model grid that the map keeps at each of `sufficiency.THRESHOLDS`."""
        masks = (self.mask_to_model(sufficiency.binarized(self.map, t)) for t in sufficiency.THRESHOLDS)
        return tuple(int(mask.sum()) for mask in masks)

    @cached_property
    def ranks(self) -> Tensor:
        """Whole numbers (*model grid), 0 for the most salient pixel."""
        _, power = np.frexp(np.abs(self.map).max())  # to within what single precision holds; exact
        return ranks(self.map_to_model(np.ldexp(self.map, -power)), self.question.seed)

    @cached_property
    def shares(self) -> np.ndarray:
        """Share of pixels after every step of insertion and deletion."""
        return shares_of(self.question.input[0, 0].numel(), self.options.steps)

    @cached_property
    def noise(self) -> Tensor | None:
        """The noise model's answer to the image behind the soft map; None for an empty map."""
        if not self.unit.any():
            return None
        return noise_behind(self.noise_model, self.hide(self.options.baseline)(self.soft_masks))

    def copies(self, series: str) -> Copies | None:
        """Return the copies of a series; None where there is nothing to show."""
        known = self.__dict__.setdefault("_copies", {})
        if series not in known:
            known[series] = SERIES[series](self)
        return known[series]

    def responses(self, series: str) -> Responses | None:
        """Return what the network made of a series; None where there was nothing to show, or no object to see."""
        copies = None if self.reader is None else self.copies(series)
        return None if copies is None else self.seen[copies.key]

    def way(self, which: Direction) -> Responses | None:
        """Return the responses of all steps of insertion or deletion, from none to all pixels."""
        inner, end = self.responses(which), self.responses(f"{which} canvas")
        return None if inner is None else whole_way(self.reader, inner, end, which)


# -- the series of copies that metrics can ask for -----------------------------------------------------


def _behind(key: str, masks: Callable[[Evaluation], Tensor]) -> Any:
    def make(e: Evaluation) -> Copies | None:
        if not e.unit.any():
            return None
        return kept((key, e.name), masks(e), e.hide(e.options.baseline))

    return make


def _stepped(e: Evaluation) -> Copies | None:
    if not e.unit.any():
        return None
    hide = e.hide(e.options.baseline)

    def make(start: int, n: int) -> Tensor:
        thresholds = sufficiency.THRESHOLDS[start : start + n]
        masks = [e.mask_to_model(sufficiency.binarized(e.map, threshold)) for threshold in thresholds]
        return hide(torch.stack(masks).float()[:, None])

    return Copies(("thresholds", e.name), len(sufficiency.THRESHOLDS), make)


def _region(form: Form) -> Any:
    return _behind(form, lambda e: e.mask_to_model(e.found(form)).float()[None, None])


def _ordered(which: Direction) -> Any:
    def make(e: Evaluation) -> Copies | None:
        if is_even(e.map):
            return None  # no order
        kind = getattr(e.options, f"{which}_canvas")
        return between((which, e.name), e.ranks, e.options.steps, e.hide(kind), which)

    return make


def _empty(option: str) -> Any:
    def make(e: Evaluation) -> Copies:
        kind = getattr(e.options, option)
        nothing = e.question.input.new_zeros((1, 1, *e.question.grid))
        return kept(("canvas", kind), nothing, e.hide(kind))

    return make


def _cropped(e: Evaluation) -> Copies | None:
    box = tight_box(e.mask_to_model(e.found("box"))) if e.unit.any() else None
    return None if box is None else crop(("crop", e.name), e.question, box)


SERIES: dict[str, Callable[[Evaluation], Copies | None]] = {
    "soft": _behind("soft", lambda e: e.soft_masks),
    "binarized": _behind("binarized", lambda e: e.binarized_masks),
    "thresholds": _stepped,
    "box": _region("box"),
    "mask": _region("mask"),
    "crop": _cropped,
    "insertion": _ordered("insertion"),
    "deletion": _ordered("deletion"),
    "insertion canvas": _empty("insertion_canvas"),
    "deletion canvas": _empty("deletion_canvas"),
}
