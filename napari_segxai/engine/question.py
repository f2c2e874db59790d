"""The question that a method answers: one network, one input on the model grid, one target.

A method is a generator that works on a `Question` alone. It never sees batches, devices, hooks or
out-of-memory; those live in the primitives `record`, `perturb` and `optimize`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_segxai.core.progress import Passes, Step
from napari_segxai.core.target import Component, Score, Target
from napari_segxai.engine.entries import CaseEntry
from napari_segxai.engine.execution.batched_optimization import StepBatcher
from napari_segxai.engine.execution.executor import Executor
from napari_segxai.engine.execution.forward_cache import ForwardCache
from napari_segxai.engine.execution.mixed_precision import Setting
from napari_segxai.engine.finding import Finding, NotDrawn
from napari_segxai.engine.masking.baselines import Baseline, Hide, baseline_image, hide_behind, inpainted
from napari_segxai.engine.region import no_band, pixels_of
from napari_segxai.engine.scores import is_linear, own_scores, read_scores, reduce_scores, reduced_slope
from napari_segxai.models.background import contradicted
from napari_segxai.models.inference.fused import fast_layout
from napari_segxai.models.logits import as_weights
from napari_segxai.models.probabilities import check_numbers, check_values
from napari_segxai.models.unfit_sizes import refusing_sizes
from napari_segxai.models.windows.stitch import Weights
from napari_segxai.models.windows.tiling import Corner, box_of

if TYPE_CHECKING:
    import numpy as np

    from napari_segxai.core.image import Image
    from napari_segxai.models.preprocessing.prepared import Prepared
    from napari_segxai.models.segmentation import SegmentationModel


DERIVED = "predicted", "pixels", "weights", "slope", "_section"
"""What follows from the input and the target, and is found at first use."""


class Question:
    """One network, one input, one target.

    Parameters
    ----------
    model
        In use (see `SegmentationModel.in_use`) on `device`.
    image, prepared
        The image and how the network gets it.
    planned
        The passes that the method is expected to need.
    precision
        Whether fewer digits may do; see `execution.mixed_precision`.
    cache, batcher
        The forward passes, and where the gradient steps meet, of questions that are asked at the same time.

    Attributes
    ----------
    warnings
        What a user should know before believing the map.
    executor
        Runs the network, counts passes, and notes how they were run.
    count
        How many pixels M has, once M is known.
    nothing
        Why there is nothing to explain, where the label is not drawn and the method needs it.
    references
        Other cases that the method was given to look at.
    """

    def __init__(
        self,
        model: SegmentationModel,
        image: Image,
        prepared: Prepared,
        target: Target,
        *,
        device: torch.device,
        seed: int,
        planned: Passes,
        precision: Setting = "auto",
        cache: ForwardCache | None = None,
        batcher: StepBatcher | None = None,
    ):
        self.model = model = model.given(prepared)
        self.image = image
        self.prepared = prepared
        self.target = target
        self.device = device
        self.seed = seed
        self.planned = planned
        self.batcher = batcher
        self.label = model.label_index(target.label)
        self.against = None if target.against is None else model.label_index(target.against)
        self.input = fast_layout(prepared.tensor.to(device))
        with refusing_sizes(model, self.input):
            check_values(model, self.input)
        self.warnings: list[str] = []
        self.nothing = ""
        self.references: tuple[CaseEntry, ...] = ()
        self.executor = Executor(model, self.input, device, precision=precision, cache=cache)
        self._logits: Tensor | None = None
        self.count: Tensor | None = None

    # -- what is asked ------------------------------------------------------------------------------

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape of the model grid."""
        return tuple(self.input.shape[2:])

    @property
    def logits(self) -> Tensor:
        """Logits of the unperturbed input: (1, labels, *grid); one forward pass at first use."""
        if self._logits is None:
            with torch.inference_mode():
                if self.model.windows is None:
                    self.remember_logits(self.look(self.input).clone())
                elif (
                    self.input is not self.executor.input
                ):  # `about` another input: that of the image stays kept
                    self.remember_logits(self.look(self.input))
                else:
                    self.remember_logits(self.model.logits_kept(self.input, self._predict))
                    self.model.kept.note(self.image, self.prepared.placement.slice)
                    assert self._logits is not None
                    self.executor.remember_unchanged(self._logits)
        assert self._logits is not None
        return self._logits

    def _predict(self, tensor: Tensor) -> Tensor:
        """Return the logits of the input by the network itself, also where a fused one runs: the prediction is everyone's."""
        original = self.model.original
        if original is None:
            return self.look(tensor)
        tiling = original.tiling(self.grid)
        self.executor.note_windows(len(tiling.corners) * tiling.rule.views)
        return original.logits(tensor)

    @property
    def has_logits(self) -> bool:
        """Whether `logits` are known, and cost no pass any more."""
        return self._logits is not None

    def remember_logits(self, logits: Tensor) -> None:
        """Take logits that a primitive computed on the way, so that no second pass is needed."""
        if self._logits is None:
            check_numbers(self.model, logits.detach(), self.image.name)
            self._logits = logits.detach()

    @cached_property
    def predicted(self) -> Tensor:
        """Where the label is predicted: boolean (*grid)."""
        return self.drawn(self.logits)[0]

    @cached_property
    def pixels(self) -> Tensor:
        """The pixel set M: boolean (*grid).

        Raises
        ------
        NotDrawn
            If it holds no pixel.
        """
        pixels = pixels_of(self.target, self.image, self.prepared.placement, self.predicted)
        doubt = contradicted(self.model, self.logits)
        self.warnings.extend([doubt] * (doubt != "" and doubt not in self.warnings))
        self.count = torch.count_nonzero(pixels)
        if self.count == 0:
            raise NotDrawn(self.nothing_drawn)
        return pixels

    @property
    def nothing_drawn(self) -> str:
        """The beginning of the sentence that says that the label is not drawn in M."""
        if self.has_empty_band:
            return no_band(self.target, self.image)
        if self.is_elsewhere:
            return "no pixel of the region lies in this slice"
        where = " in the region" if self.target.region is not None and bool(self.predicted.any()) else ""
        return f"{self.model.name} predicts no pixel as {self.model.labels[self.label]!r}{where}"

    @property
    def is_elsewhere(self) -> bool:
        """Whether a region was chosen that does not reach the slice that is explained; M is known then."""
        chosen = self.target.region is not None and not isinstance(self.target.region, Component)
        return chosen and self.count is not None and int(self.count) == 0 and not self.has_empty_band

    @property
    def has_empty_band(self) -> bool:
        """Whether no pixel lies in the band along the border of a region that has pixels; M is known then."""
        if self.target.boundary is None or self.count is None or int(self.count):
            return False
        whole = replace(self.target, boundary=None)
        return bool(pixels_of(whole, self.image, self.prepared.placement, self.predicted).any())

    @property
    def is_missed(self) -> bool:
        """Whether the label is predicted at no pixel of M, on the grid of the image if it is a miss that was found there."""
        if self.target.error == "false-negative" and self.target.boundary is None:
            return True  # on another grid some cells may lie half in the object beside it
        try:
            return not bool((self.predicted & self.pixels).any())
        except NotDrawn:  # M is found in the prediction, and empty
            return True

    def drawn_object(self) -> Tensor:
        """Return the pixels of M that are predicted as the label: boolean (*grid).

        Raises
        ------
        NotDrawn
            If there are none.
        """
        if self.is_missed:
            raise NotDrawn(self.nothing_drawn)
        return self.predicted & self.pixels

    @cached_property
    def weights(self) -> Tensor:
        """M as numbers: float (*grid), 1 inside and 0 outside."""
        return self.pixels.float()

    def drawn(self, logits: Tensor) -> Tensor:
        """Return where the label is drawn: (N, labels, *grid) -> boolean (N, *grid)."""
        return self.model.labeling.drawn(logits, self.label)

    def margin(self, logits: Tensor) -> Tensor:
        """Return by how much the label is drawn: (N, labels, *grid) -> (N, *grid), above 0 where it is; differentiable."""
        return self.model.labeling.margin(logits, self.label)

    def scores(self, logits: Tensor) -> Tensor:
        """Return the score at every pixel: (N, labels, *grid) -> (N, *grid); a function of the user's has none (`reads` of a method)."""
        own = read_scores(self.model, logits, self.label, self.pixel_score)
        if self.against is None:
            return own
        return own - read_scores(self.model, logits, self.against, self.pixel_score)

    @property
    def pixel_score(self) -> Score:
        """The score that is read at every pixel."""
        if callable(self.target.score):
            raise TypeError("a score of the user's is one number, and has no value at a pixel")
        return self.target.score

    def score(self, logits: Tensor) -> Tensor:
        """Return the target's scalar per sample: (N, labels, *grid) -> (N,)."""
        weights = self.weights  # which counts them
        if self.target.own_score is not None:
            return own_scores(self.target.own_score, logits, self.pixels)
        return reduce_scores(self.scores(logits), weights, self.target.reduction, self.count)

    @cached_property
    def slope(self) -> Weights | None:
        """What the score weighs of the output, where it is linear in that, and so known before a pass; None where it is not.

        Of a network that sees images through windows: of what is averaged over them.
        """
        labels = {self.label: 1.0} if self.against is None else {self.label: 1.0, self.against: -1.0}
        if not is_linear(self.target.score):
            return None
        weights = torch.zeros(self.model.outputs)
        for label, sign in labels.items():
            one = as_weights(self.model.card, label, self.model.outputs)
            if one is None:
                return None
            weights += sign * torch.tensor(one)
        seen = self.section(self.pixels)
        values = reduced_slope(seen.weights, self.target.reduction, self.count)
        shape = (-1, *(1,) * values.ndim)
        low = tuple(part.start for part in box_of(self.pixels))
        return Weights(weights.to(values).view(shape) * values, low)

    def section(self, where: Tensor | None) -> Question:
        """Return this question about the smallest box that holds `where`, for scores of what is read there alone; nothing is run with it.

        Through windows, passes return no more than that box while an `Executor.reading` is open: without windows, and for all of the
        image, it is this question itself.

        Parameters
        ----------
        where
            Boolean (*grid), M among it; None for everywhere.
        """
        if where is None or self.model.windows is None:
            return self
        known = self.__dict__.get("_section")
        if known is not None and known[0] is where:
            return known[1]
        box = box_of(where)
        pixels, predicted, logits = self.pixels, self.predicted, self.logits
        other = copy.copy(self)
        for name in DERIVED:
            other.__dict__.pop(name, None)
        other.input = self.input[(..., *box)]
        other.pixels, other.predicted = pixels[box], predicted[box]
        other._logits = logits[(..., *box)]
        self._section = where, other
        return other

    @property
    def read_at(self) -> Tensor | None:
        """Where the target's score reads the logits: boolean (*grid); None for everywhere, as a function of the user's may."""
        return self.pixels if self.target.own_score is None else None

    def baseline(self, kind: Baseline) -> Tensor:
        """Return what hidden pixels become: (1, channels, 1, ...) or of the input's shape; "inpaint" hides M."""
        pixels = self.pixels if kind == "inpaint" else None
        return baseline_image(kind, self.model, self.prepared, self.input, pixels, self.seed)

    def hide(self, kind: Baseline, image: Tensor | None = None) -> Hide:
        """Return the function that makes inputs from masks (n, 1, *grid): 1 keeps a pixel, 0 hides it behind the baseline.

        Parameters
        ----------
        image
            (1, channels, *grid): what is masked; the input by default.
        """
        shown = self.input if image is None else image
        if kind == "inpaint":
            return lambda masks: inpainted(shown, masks)
        return hide_behind(shown, self.baseline(kind))

    @property
    def size_name(self) -> str:
        """What `cell_volume` measures, with its unit, e.g. "volume_mm3"."""
        return f"{'area' if len(self.grid) == 2 else 'volume'}_{self.image.units}{len(self.grid)}"

    @property
    def cell_size(self) -> tuple[float, ...]:
        """Lengths of one cell of the model grid along its axes, in the image's units."""
        return self.prepared.placement.cell_size(self.image)

    @property
    def cell_volume(self) -> float:
        """Area or volume of one cell of the model grid, in the image's units."""
        return math.prod(self.cell_size)

    def about(self, tensor: Tensor) -> Question:
        """Return the same question about another input, with this one's pixel set M.

        Passes and warnings are counted here; the seed and what is planned are shared.

        Parameters
        ----------
        tensor
            (1, channels, *grid), on the question's device.
        """
        other = copy.copy(self)
        for name in DERIVED:
            other.__dict__.pop(name, None)
        other.pixels = self.pixels
        other.input = fast_layout(tensor)
        other._logits = None
        return other

    def on_part(self, corner: Corner, axes: tuple[int, ...] = ()) -> Question:
        """Return the question about what the network sees of the input at one look: for network layers, behind windows.

        It has no M of its own, and counts its passes itself; warnings are shared.

        Parameters
        ----------
        corner, axes
            Where the window lies on the padded grid, and along which axes of (1, channels, *size) it is mirrored.
        """
        tiling = self.model.tiling(self.grid)
        other = copy.copy(self)
        for name in DERIVED:
            other.__dict__.pop(name, None)
        other.model = self.model.in_one_window(corner, axes)
        other.input = fast_layout(tiling.pad(self.input)[(..., *tiling.place(corner))].flip(axes))
        other.executor = Executor(other.model, other.input, self.device, precision=self.executor.precision)
        other.executor.differentiable = self.executor.differentiable
        other._logits = None
        return other

    # -- asking ----------------------------------------------------------------------------------------

    @property
    def passes(self) -> Passes:
        """Passes that were run."""
        return self.executor.passes

    def forward(self, tensor: Tensor) -> Tensor:
        """Run the network on (N, channels, *grid) and count the passes."""
        return self.executor.forward(tensor)

    def forward_again(self, tensor: Tensor) -> Tensor:
        """`forward`, for an input that takes a gradient and whose shape comes again and again; see `execution.graphs`."""
        logits = self.executor.repeat(tensor)
        self.passes.forward += len(tensor)
        return logits

    def look(self, tensor: Tensor) -> Tensor:
        """`forward`, unless a question that is asked at the same time has just run the network on the same input."""
        return self.executor.look(tensor)

    def step(self, note: str, partial: Callable[[], Finding] | None = None) -> Step:
        """Report where the work stands."""
        done = self.passes.cost
        return Step(done, max(done, self.planned.cost), note, partial)

    def from_image(self, mask: np.ndarray) -> Tensor:
        """Bring a boolean mask on the image grid to the model grid."""
        return self.prepared.placement.mask_to_grid(mask).to(self.device)
