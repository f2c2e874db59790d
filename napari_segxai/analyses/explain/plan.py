"""Planning an explanation: what is asked is checked, and what it will cost is known, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
import torch
from torch import nn

from napari_segxai.analyses.concepts.sources import check_first, entry_of
from napari_segxai.analyses.explain.error_components import notes_on_truth, with_error_found
from napari_segxai.analyses.explain.takes import refusal
from napari_segxai.analyses.explain.windows_needed import needed_windows
from napari_segxai.analyses.inputs import as_image
from napari_segxai.core.arguments import whole_number
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.progress import Passes
from napari_segxai.core.target import Box, Component, Point, Target
from napari_segxai.engine.cases import chosen_layers
from napari_segxai.engine.entries import CaseEntry
from napari_segxai.engine.execution.mixed_precision import Setting
from napari_segxai.engine.masking.baselines import check_baseline
from napari_segxai.io.cases.find import find_cases
from napari_segxai.methods.registry import Method, find_method
from napari_segxai.methods.size import Size
from napari_segxai.models.inference.device import choose_device
from napari_segxai.models.introspection.layers import check_used
from napari_segxai.models.preprocessing.framed import place
from napari_segxai.models.registry import load_model
from napari_segxai.models.segmentation import SegmentationModel

T = TypeVar("T")

HIGHEST_SEED = 2**32 - 1
"""The largest that all generators of random numbers take."""


@dataclass(frozen=True)
class ExplanationPlan:
    """What has been checked and can be explained; it runs nothing.

    Attributes
    ----------
    model
        The network that is explained.
    image
        With the channels that the model takes, and its slices across the axis that was asked for.
    target
        What is asked about.
    method, options
        By which method, with which parameters.
    seed
        Of everything random.
    device
        Where it runs.
    slice
        For a 2D model on a volume, as napari counts it; None for all slices, or the whole image.
    precision
        Whether fewer digits may do; see `engine.execution.mixed_precision`.
    references
        Cases of the folder that a parameter names.
    looks
        Forward passes that it takes to choose a slice of each of them.
    truth
        By which the error was found that is the region, as it was given; None where nothing was found so.
    """

    model: SegmentationModel
    image: Image
    target: Target
    method: Method
    options: Any
    seed: int
    device: torch.device
    slice: int | None
    precision: Setting = "auto"
    references: tuple[CaseEntry, ...] = ()
    looks: int = 0
    truth: Any = None

    @classmethod
    def make(
        cls,
        model: SegmentationModel | nn.Module | str | Path,
        image: Image | np.ndarray,
        target: Target | str | int,
        method: str = "misure",
        *,
        seed: int = 0,
        device: str | torch.device = "auto",
        slice: int | None = None,
        axis: int | None = None,
        precision: Setting = "auto",
        **params: Any,
    ) -> ExplanationPlan:
        """Check everything that can be checked without running the network.

        Raises
        ------
        UserError
            For anything that was asked wrongly.
        """
        if not isinstance(model, SegmentationModel):
            model = load_model(model)
        image = as_image(image, model, axis)
        if not isinstance(target, Target):
            target = Target(target)
        found = find_method(method, "image")
        options = found.make_options(params)
        model.label_index(target.label)
        if target.against is not None and model.label_index(target.against) == model.label_index(
            target.label
        ):
            raise UserError(f"{target.label!r} is asked about against itself; name another label.")
        model.require(found.needs_of(options))
        if why := refusal(found, options, target, model.capabilities):
            raise UserError(why)
        if "network layers" in found.needs:
            for layer in found.layers_of(options).values():
                check_used(model.find_layer(layer), model.name)
            if layers := found.listed_layers(options):
                chosen_layers(model, layers, [])  # raises
        seed = whole_number(seed, "seed", 0, HIGHEST_SEED)
        if precision not in get_args(Setting):
            raise UserError(f"precision {precision!r} is unknown; choose {' or '.join(get_args(Setting))}.")
        truth = target.truth
        target = with_error_found(target, model, image, slice=slice, device=device)
        if image.time_axis is not None:
            image.channels_first()  # raises, saying how to choose a time point
        references, looks = _references(found.folder_of(options), model)
        plan = cls(
            model,
            image,
            target,
            found,
            options,
            seed,
            choose_device(str(device)),
            slice,
            precision,
            references,
            looks,
            truth,
        )
        placements = plan.slices
        if placements == [None]:
            model.refuse_slice(image, slice)
        model.prepare_check(image, placements[0])
        for one in (options, *getattr(options, "wrapped", ())[1:]):
            check_baseline(getattr(one, "baseline", "zero"), model, image)
        plan.passes.bounded(method)  # raises also where the parameters do not fit the image
        return plan

    @cached_property
    def slices(self) -> list[int | None]:
        """The slices that are explained, one after the other; [None] for the whole image."""
        many = self.model.slices(self.image)
        if many is None:
            return [None]
        return [self.slice] if self.slice is not None else list(range(many))

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What was done to the truth by which the error was found, and to the band along a border."""
        band, out = (
            self.target.boundary,
            notes_on_truth(self.truth, self.model, self.image, self.target.label),
        )
        if band is not None and self.image.units == "pixel":
            out.append(
                f"{self.image.name} does not say how large its pixels are: the band along the border is {band[0]:g} to {band[1]:g} "
                "pixels, not mm."
            )
        return tuple(out)

    @property
    def unit(self) -> str:
        """What a value of the map is, in a few words."""
        score = self.target.score_name
        of = f"summed {score}" if self.target.reduction == "sum" else score
        if self.target.against is not None:
            of += f" less that of {self.model.labels[self.model.label_index(self.target.against)]}"
        return self.method.unit_of(self.options).replace("{score}", of)

    @property
    def passes(self) -> Passes:
        """The passes that are expected."""
        return self.planned * len(self.slices)

    @cached_property
    def windows(self) -> tuple[int | None, int] | None:
        """How many windows hold a place of the region, and how many there are; None where the network sees images whole.

        How many hold the region is None where that is found in the prediction, and none of this image is kept.
        """
        model, region = self.model, self.target.region
        if model.windows is None:
            return None
        placement = place(model.card, self.image, self.slices[0], model.multiples)
        tiling = model.tiling(placement.shape)
        of = len(tiling.corners)
        if self.target.own_score is not None:  # it may read every place
            return of, of
        if self.target.boundary is not None or region is None or isinstance(region, Component):
            return needed_windows(model, self.image, self.slices[0], self.target), of
        if isinstance(region, np.ndarray) and region.any():
            rows = [
                np.nonzero(region.any(tuple(set(range(region.ndim)) - {k})))[0] for k in range(region.ndim)
            ]
            low, stop = [int(row[0]) for row in rows], [int(row[-1]) + 1 for row in rows]
        elif isinstance(region, Box | Point):
            low, high = (region.at, region.at) if isinstance(region, Point) else (region.low, region.high)
            stop = [index + 1 for index in high]
        else:
            return of, of
        if len(low) != self.image.spatial_dims:  # refused where it is read
            return None, of
        box = placement.box_on_grid(low, stop)
        return 0 if box is None else len(tiling.meeting(box)), of

    @cached_property
    def is_predicted(self) -> bool:
        """Whether the prediction of the image is kept, as far as a glance tells: through windows that of the last image is."""
        if self.model.windows is None or len(self.slices) > 1:
            return False
        placement = place(self.model.card, self.image, self.slices[0], self.model.multiples)
        return self.model.kept.of(self.model.module, self.image, placement.slice) is not None

    @property
    def windows_words(self) -> str:
        """Say how many windows a job takes of how many; "" where the network sees images whole."""
        if self.windows is None:
            return ""
        needed, of = self.windows
        before = []
        if not self.is_predicted and needed is not None and needed < of:
            before = [f"a prediction ({of} windows)"]
        first = self.model.first_stage
        if first and not first.knows(self.image):
            before.append("a prediction of the first stage")
        return self._words_of_windows() + (f", behind {' and '.join(before)}" if before else "")

    def cost_of(self, passes: Passes) -> float:
        """Return what passes cost of which, through windows, only those are run that are needed, and the prediction only where none is kept."""
        if self.windows is None:
            return passes.cost
        needed, of = self.windows
        if needed is None:
            return passes.cost
        return passes.cost * needed / of + (0 if self.is_predicted else len(self.slices))

    def _words_of_windows(self) -> str:
        assert self.windows is not None
        (needed, of), region = self.windows, self.target.region
        if needed is not None:
            return f"{of} windows a pass" if needed == of else f"{needed} of {of} windows in the region"
        if isinstance(region, Component) and len(region.at) == self.image.spatial_dims:
            placement = place(self.model.card, self.image, self.slices[0], self.model.multiples)
            box = placement.box_on_grid(region.at, [index + 1 for index in region.at])
            least = 0 if box is None else len(self.model.tiling(placement.shape).meeting(box))
            return f"{least} of {of} windows or more (those of the object, once it is predicted)"
        return f"{of} windows a pass or fewer (those of the region, once it is predicted)"

    @cached_property
    def planned(self) -> Passes:
        """The passes that are expected for one slice."""
        return self.method.passes(self.options, self.size)

    @cached_property
    def size(self) -> Size:
        """What the number of passes can depend on."""
        grid = self.model.grid_for(self.image, self.slices[0])
        layers, channels = lambda: self.model.example_layers, len(self.model.card.channels)
        return Size(grid, layers, channels, len(self.references), self.looks)


def _references(folder: str, model: SegmentationModel) -> tuple[tuple[CaseEntry, ...], int]:
    """Return the cases of a folder, and how many slices would have to be looked at to choose one of each.

    Raises
    ------
    UserError
        If there is none that the model can be shown.
    """
    if not folder:
        return (), 0
    cases = find_cases(folder)
    image, _ = check_first(cases, model, None)
    return tuple(entry_of(case, model, None) for case in cases), (model.slices(image) or 0) * len(cases)
