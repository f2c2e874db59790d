"""Explaining a prediction: the one way that scripts, the command line and the widgets walk."""

from __future__ import annotations

import datetime
import importlib.metadata
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import napari_segxai
from napari_segxai import orientation
from napari_segxai.engine.device import choose_device
from napari_segxai.engine.memory import OutOfMemory, free, is_out_of_memory
from napari_segxai.engine.passes import Passes, Step, Steps
from napari_segxai.engine.question import EmptyRegion, Finding, Question
from napari_segxai.errors import UserError
from napari_segxai.explainers.registry import Method, all_methods, find_method, options_as_dict
from napari_segxai.explanation import Explanation, Record
from napari_segxai.image import Image
from napari_segxai.model import load_model
from napari_segxai.model.segmentation import SegmentationModel, label_dtype, labels_on_image
from napari_segxai.targets import Target


def methods() -> list[dict[str, Any]]:
    """List the methods.

    Returns
    -------
    list of dict
        With the keys name, title, family, needs, spatial_dims, summary, source, parameters, presets, passes.
    """
    return [method.as_json() for method in all_methods()]


def explain(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    target: Target | str | int,
    method: str = "misure",
    *,
    seed: int = 0,
    device: str = "auto",
    slice: int | None = None,
    progress: Callable[[Step], None] | bool | None = None,
    **params: Any,
) -> Explanation:
    """Explain why a network segmented an object.

    Parameters
    ----------
    model
        A `SegmentationModel`, or what `load_model` takes without a card.
    image
        An `Image`, or a plain 2D or 3D array without channels.
    target
        A `Target`, or a label for the target of its predicted pixels.
    method
        Name of the method; see `methods`.
    seed
        Seed of everything random. The same seed gives the same result, bit for bit, on one device.
    device
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    slice
        For a 2D model on a volume: the slice, counted as napari shows the volume. All slices by default.
    progress
        Called with every `Step`; True shows a progress bar in the terminal.
    **params
        Parameters of the method, and ``preset="..."``.

    Returns
    -------
    Explanation
        On the grid of the image.

    Raises
    ------
    UserError
        For anything that was asked wrongly, in one sentence.
    OutOfMemory
        If the device has too little memory even for a single image.

    Examples
    --------
    >>> import napari_segxai as sx
    >>> model = sx.load_model("selfie")  # doctest: +SKIP
    >>> image = sx.read_image("portrait.png")  # doctest: +SKIP
    >>> sx.explain(model, image, "person", method="seg-grad-cam").map.shape  # doctest: +SKIP
    (512, 512)
    """
    job = explain_steps(model, image, target, method, seed=seed, device=device, slice=slice, **params)
    if progress is True:
        return _with_bar(job)
    while True:
        try:
            step = next(job)
        except StopIteration as done:
            return done.value
        if callable(progress):
            progress(step)


def explain_steps(
    model: SegmentationModel | nn.Module | str | Path,
    image: Image | np.ndarray,
    target: Target | str | int,
    method: str = "misure",
    *,
    seed: int = 0,
    device: str = "auto",
    slice: int | None = None,
    **params: Any,
) -> Steps[Explanation]:
    """`explain`, one step at a time: yields `Step` and returns the `Explanation`.

    What is wrong with the question is raised at the call, before the first step. Closing the generator stops
    the work and restores the model; ``step.partial()`` gives the `Explanation` so far, where there is one.
    """
    job = Job.make(model, image, target, method, seed=seed, device=device, slice=slice, **params)
    return job.steps()


@dataclass(frozen=True)
class Job:
    """A question that has been checked and can be run."""

    model: SegmentationModel
    image: Image
    target: Target
    method: Method
    options: Any
    seed: int
    device: torch.device
    slice: int | None

    @classmethod
    def make(
        cls,
        model: SegmentationModel | nn.Module | str | Path,
        image: Image | np.ndarray,
        target: Target | str | int,
        method: str = "misure",
        *,
        seed: int = 0,
        device: str = "auto",
        slice: int | None = None,
        **params: Any,
    ) -> Job:
        """Check everything that can be checked without running the network.

        Raises
        ------
        UserError
            For anything that was asked wrongly.
        """
        if not isinstance(model, SegmentationModel):
            model = load_model(model)
        if not isinstance(image, Image):
            image = Image(image)
        if not isinstance(target, Target):
            target = Target(target)
        found = find_method(method)
        options = found.make_options(params)
        model.label_index(target.label)
        if "network layers" in found.needs:
            if not model.has_layers:
                model.find_layer("bottleneck")  # raises, saying why and what to use
            for name in found.layer_parameters:
                model.find_layer(getattr(options, name))
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise UserError(f"seed {seed!r} has to be a whole number, 0 or more.")
        if image.time_axis is not None:
            image.channels_first()  # raises, saying how to choose a time point
        job = cls(model, image, target, found, options, seed, choose_device(device), slice)
        placements = job.slices
        if slice is not None and placements == [None]:
            raise UserError(
                f"slice is for 2D models on volumes; {model.name} takes {image.name} whole, leave it out."
            )
        model.prepare_check(image, placements[0])
        return job

    @property
    def slices(self) -> list[int | None]:
        """The slices that are explained, one after the other; [None] for the whole image."""
        many = self.model.slices(self.image)
        if many is None:
            return [None]
        return [self.slice] if self.slice is not None else list(range(many))

    @property
    def passes(self) -> Passes:
        """The passes that are expected."""
        grid = self.model.grid_for(self.image, self.slices[0])
        return self.method.passes(self.options, grid) * len(self.slices)

    def steps(self) -> Steps[Explanation]:
        """Run; see `explain_steps`."""
        start = time.perf_counter()
        canvas = _Canvas(self)
        planned = self.method.passes(self.options, self.model.grid_for(self.image, self.slices[0]))
        total = planned.cost * len(self.slices)
        try:
            with self.model.in_use(self.device):
                for position, index in enumerate(self.slices):
                    prepared = self.model.prepare(self.image, index)
                    question = Question(
                        self.model,
                        self.image,
                        prepared,
                        self.target,
                        device=self.device,
                        seed=self.seed,
                        planned=planned,
                    )
                    work = self._answer(question)
                    prefix = f"slice {index}: " if len(self.slices) > 1 else ""
                    while True:
                        try:
                            step = next(work)
                        except StopIteration as done:
                            canvas.add(question, done.value, index)
                            break
                        finally:
                            canvas.seconds = time.perf_counter() - start
                        done_cost = min(position * planned.cost + step.done, total)
                        yield Step(
                            done_cost,
                            total if len(self.slices) > 1 else step.total,
                            prefix + step.note,
                            canvas.partial(question, step.partial, index),
                        )
                canvas.seconds = time.perf_counter() - start
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            free(self.device)
            raise OutOfMemory(self.device) from None
        return canvas.explanation(partial=False)

    def _answer(self, question: Question) -> Steps[Finding]:
        try:
            finding = yield from self.method.run(question, self.options)
        except EmptyRegion as reason:
            question.warnings.append(str(reason))
            return Finding(torch.zeros(question.grid), numbers={"status": "empty"})
        values = finding.map
        if not bool(torch.isfinite(values).all()):
            question.warnings.append("the map held values that are not finite; they were set to 0.")
            finding = replace(finding, map=torch.nan_to_num(values, 0.0, 0.0, 0.0))
        elif not bool(values.any()):
            question.warnings.append(
                "the map is zero everywhere: nothing that was examined changes the target."
            )
        return finding


class _Canvas:
    """The image grid on which the findings of all slices are put together."""

    def __init__(self, job: Job):
        self.job = job
        self.seconds = 0.0
        self.passes = Passes()
        shape = job.image.spatial_shape
        self.map = np.zeros(shape, np.float32)
        self.prediction = np.zeros(shape, label_dtype(len(job.model.labels)))
        self.native: np.ndarray | None = None
        self.native_affine: np.ndarray | None = None
        self.maps: dict[str, np.ndarray] = {}
        self.masks: dict[str, np.ndarray] = {}
        self.stages: np.ndarray | None = None
        self.stage_table: list[dict[str, Any]] = []
        self.curves: dict[str, dict[str, list[float]]] = {}
        self.results: dict[str, Any] = {}
        self.warnings: list[str] = []

    def add(self, question: Question, finding: Finding, index: int | None) -> None:
        """Bring a finding from the model grid to the image grid."""
        place = question.prepared.placement
        many = len(self.job.slices) > 1
        self.passes = self.passes + question.passes
        labels_on_image(question.logits[0], place, self.prediction)
        native = tuple(finding.map.shape) != question.grid
        values = finding.map
        if native:
            self._keep_native(values, question)
            values = _to_grid(values, question.grid)
        place.to_image(place.from_grid(values, linear=True), self.map)
        for name, extra in finding.maps.items():
            canvas = self.maps.setdefault(name, np.zeros_like(self.map))
            place.to_image(place.from_grid(extra, linear=True), canvas)
        for name, mask in finding.masks.items():
            canvas = self.masks.setdefault(name, np.zeros(self.map.shape, bool))
            place.to_image(place.from_grid(mask, linear=False) > 0.5, canvas)
        if finding.stages is not None:
            if self.stages is None:
                self.stages = np.zeros(self.map.shape, np.uint16)
            place.to_image(
                np.rint(place.from_grid(finding.stages, linear=False)).astype(np.uint16), self.stages
            )
            if len(finding.stage_table) > len(self.stage_table):
                self.stage_table = [dict(row) for row in finding.stage_table]
        prefix = f"slice {index}: " if many else ""
        self.curves.update({prefix + name: dict(columns) for name, columns in finding.curves.items()})
        if many:
            self.results[f"slice {index}"] = dict(finding.numbers)
        else:
            self.results = dict(finding.numbers)
        notes = [*question.prepared.notes, *question.warnings, *finding.warnings]
        self.warnings += [prefix + note for note in notes if prefix + note not in self.warnings]

    def _keep_native(self, values: torch.Tensor, question: Question) -> None:
        place, image = question.prepared.placement, self.job.image
        if place.slice is not None:
            return  # a volume of slices has no one native grid
        turned = values.float().cpu().numpy()
        self.native = np.ascontiguousarray(orientation.apply(turned, orientation.invert(place.turn)))
        if image.affine is not None:
            self.native_affine = place.native_affine(tuple(values.shape), image.affine)

    def partial(
        self, question: Question, finding: Callable[[], Finding] | None, index: int | None
    ) -> Callable[[], Explanation] | None:
        """Return what makes the explanation so far; None when there is nothing to show."""
        if finding is None and not self.results:
            return None

        def make() -> Explanation:
            canvas = _Canvas(self.job)
            canvas.__dict__.update(
                {
                    key: value.copy() if isinstance(value, np.ndarray | dict | list) else value
                    for key, value in self.__dict__.items()
                }
            )
            canvas.masks = {name: mask.copy() for name, mask in self.masks.items()}
            canvas.maps = {name: values.copy() for name, values in self.maps.items()}
            if finding is not None:
                canvas.add(question, finding(), index)
            return canvas.explanation(partial=True)

        return make

    def explanation(self, *, partial: bool) -> Explanation:
        """Put everything together."""
        if len(self.job.slices) > 1:
            empty = sum(1 for r in self.results.values() if r.get("status") == "empty")
            if empty:
                label = self.job.model.labels[self.job.model.label_index(self.job.target.label)]
                self.warnings = [w for w in self.warnings if "nothing to explain" not in w]
                self.warnings.insert(
                    0, f"{label!r} is not predicted in {empty} of {len(self.results)} slices."
                )
        return Explanation(
            map=self.map,
            image=self.job.image,
            record=self._record(partial),
            prediction=self.prediction,
            native=self.native,
            native_affine=self.native_affine,
            maps=self.maps,
            masks=self.masks,
            stages=self.stages,
            stage_table=self.stage_table,
            curves=self.curves,
        )

    def _record(self, partial: bool) -> Record:
        job, image, card = self.job, self.job.image, self.job.model.card
        low, high = float(self.map.min()), float(self.map.max())
        signed = low < 0
        limit = max(abs(low), abs(high)) or 1.0
        # A map without negative values may have a floor (RISE does): what counts is what rises above it.
        limits = [-limit, limit] if signed else [low if low < high else 0.0, limit]
        return Record(
            method=job.method.name,
            parameters=options_as_dict(job.options),
            target={
                "label": job.model.labels[job.model.label_index(job.target.label)],
                "region": job.target.describe_region(),
                "score": job.target.score,
                "reduction": job.target.reduction,
            },
            model={
                "name": card.name,
                "source": job.model.source,
                "labels": list(card.labels),
                "sha256": job.model.sha256,
                "licence": card.licence,
            },
            image={
                "name": image.name,
                "path": image.path,
                "sha256": image.sha256,
                "shape": list(image.array.shape),
                "spacing": list(image.spacing),
                "units": image.units,
                "affine": None if image.affine is None else image.affine.tolist(),
            },
            device=str(job.device),
            seed=job.seed,
            slice=job.slice,
            passes={"forward": self.passes.forward, "backward": self.passes.backward},
            seconds=round(self.seconds, 3),
            results=dict(self.results),
            warnings=list(self.warnings),
            display={
                "values": "raw",
                "signed": signed,
                "range": [low, high],
                "contrast_limits": limits,
            },
            partial=partial,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            versions=dict(_versions()),
        )


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    """Versions of what computes; read once, since reading package metadata takes milliseconds."""
    names = ("torch", "numpy", "scikit-image")
    own = ("napari-segxai", napari_segxai.__version__)
    return (own, *((name, importlib.metadata.version(name)) for name in names))


def _to_grid(values: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    """Enlarge a network layer's map to the model grid, linearly."""
    from napari_segxai.model.placement import resize

    return resize(values.float()[None, None], grid, linear=True)[0, 0]


def _with_bar(job: Steps[Explanation]) -> Explanation:
    from tqdm import tqdm

    with tqdm(total=1, unit="pass", leave=False) as bar:
        while True:
            try:
                step = next(job)
            except StopIteration as done:
                return done.value
            bar.total = step.total
            bar.set_description(step.note, refresh=False)
            bar.update(step.done - bar.n)
