"""Planning a comparison: what is asked is checked, and what it will cost is known, before anything runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from torch import nn

from napari_segxai.analyses.compare.asked import Asked
from napari_segxai.analyses.compare.matching import check_map
from napari_segxai.analyses.compare.measuring import MeasuringWithControls, with_defaults
from napari_segxai.analyses.explain.error_components import with_error_found
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.analyses.inputs import as_image
from napari_segxai.core.arguments import whole_number
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.options import MOST
from napari_segxai.core.paths import user_path
from napari_segxai.core.progress import Passes
from napari_segxai.core.target import Target
from napari_segxai.methods.noise_network.model import read_noise_model
from napari_segxai.methods.registry import find_method, options_as_dict
from napari_segxai.metrics.functional.noise import NoiseModel
from napari_segxai.metrics.registry import Metric
from napari_segxai.metrics.table import choose, planned_passes
from napari_segxai.models.ground_truth import ignored_by, truth_of
from napari_segxai.models.preprocessing.spatial import plane_of
from napari_segxai.models.registry import load_model
from napari_segxai.models.segmentation import SegmentationModel

METRICS = (
    "dice-explained",
    "saliency-ratio",
    "pps",
    "ips",
    "insertion-dice",
    "deletion-dice",
    "context-share",
)
"""What is measured unless asked otherwise."""

WITH_TRUTH = ("pointing-game-mask", "energy-pointing-game-mask", "f1-mask")
"""And with a truth."""

WITH_NOISE = ("ana", "srm")
"""And with a noise model."""

MethodSpec = str | tuple[str, Mapping[str, Any]]
"""A method by name, "rise:masks=100:cells=5", or ("rise", {"masks": 100})."""

Methods = Sequence[MethodSpec] | Mapping[str, MethodSpec]
"""Methods, whose maps get a name each, or methods by the names of their maps."""


@dataclass(frozen=True)
class ComparisonPlan:
    """A comparison that has been checked and can be run; it runs nothing.

    Attributes
    ----------
    shared : ExplanationPlan
        What all maps are of: model, image, target, seed, device and slice.
    explanations : mapping of str to ExplanationPlan
        By name: the methods to be run.
    maps : mapping of str to Explanation or numpy.ndarray
        By name: the maps that are there.
    truth : numpy.ndarray or None
        Boolean, on the image grid: where the label really is, if known.
    noise_model : callable or None
        For ANA and SRM, if known.
    metrics : tuple of Metric
        What is measured.
    controls : int
        Random orders that are measured as well.
    options : mapping
        Parameters of the metrics.
    warnings : sequence of str
        What was done to bring the truth to the image grid.
    together : int
        How many methods run side by side; what they have in common is run once, but their times are not their own.
    noise_file : str or None
        The file of the noise model, if it is in one.
    ignored : numpy.ndarray or None
        Boolean, on the image grid: where nobody has labelled anything; None for nowhere.
    """

    shared: ExplanationPlan
    explanations: Mapping[str, ExplanationPlan]
    maps: Mapping[str, Explanation | np.ndarray]
    truth: np.ndarray | None
    noise_model: NoiseModel | None
    metrics: tuple[Metric, ...]
    controls: int
    options: Mapping[str, Any]
    warnings: Sequence[str] = ()
    together: int = 1
    noise_file: str | None = None
    ignored: np.ndarray | None = None

    @classmethod
    def make(
        cls,
        model: SegmentationModel | nn.Module | str | Path,
        image: Image | np.ndarray,
        target: Target | str | int,
        methods: Methods = (),
        *,
        maps: Mapping[str, Explanation | np.ndarray] | None = None,
        **measuring: Unpack[MeasuringWithControls],
    ) -> ComparisonPlan:
        """Check everything that can be checked without running the network; see `compare`.

        Raises
        ------
        UserError
            For anything that was asked wrongly.
        """
        asked, options = with_defaults(measuring)
        given = dict(maps or {})
        names = list(methods) if isinstance(methods, Mapping) else None
        listed = methods.values() if isinstance(methods, Mapping) else methods
        specs = [read_method(spec) for spec in ([listed] if isinstance(listed, str) else listed)]
        for name in names or ():
            if not isinstance(name, str) or not name:
                raise UserError(f"methods: {name!r} is not a name for a map; give text.")
            if name in given:
                raise UserError(
                    f"{name!r} is the name of a method's map and of one in maps; give them two names."
                )
        if not specs and not given:
            raise UserError("name at least one method.")
        if not isinstance(model, SegmentationModel):
            model = load_model(model)
        image = as_image(image, model, asked["axis"])
        target = _found(target, model, image, asked)
        for name, map in given.items():
            check_map(name, map, model, image, target, asked["slice"])
        where = {word: asked[word] for word in ("seed", "device", "slice")}
        for method, parameters in specs:
            find_method(method, "image").make_options(
                parameters
            )  # raises where one is none, such as seed or model
        named = {
            name: ExplanationPlan.make(model, image, target, method, **where, **parameters)
            for name, (method, parameters) in zip(names or names_of(specs, given), specs, strict=True)
        }
        shared = next(iter(named.values()), None)
        shared = shared or ExplanationPlan.make(model, image, target, "vanilla-gradient", **where)
        if len(shared.slices) > 1:
            raise UserError(
                f"{model.name} sees slices and {image.name} is a volume; choose one slice to compare maps on."
            )
        truth, noise_model = asked["truth"], asked["noise_model"]
        controls = whole_number(asked["controls"], "controls", 0, MOST)
        label = model.label_index(shared.target.label)
        wanted, notes = (None, []) if truth is None else truth_of(truth, image, model, label)
        noise_file = None
        if isinstance(noise_model, str | Path):
            noise_file = str(user_path(noise_model).absolute())
            noise_model = read_noise_model(noise_model, model, label)
        metrics = _chosen(asked["metrics"], truth=truth is not None, noise_model=noise_model is not None)
        plan = cls(
            shared,
            named,
            given,
            wanted,
            noise_model,
            metrics,
            controls,
            options,
            notes,
            noise_file=noise_file,
            ignored=None if truth is None else ignored_by(truth, image, model),
        )
        plan.passes.bounded("this comparison")  # raises also where an option is wrong
        return plan

    @property
    def asked(self) -> Asked:
        """What of this the result keeps, to be asked again."""
        shared = self.shared
        return Asked(
            methods={
                name: {"method": plan.method.name, "parameters": options_as_dict(plan.options)}
                for name, plan in self.explanations.items()
            },
            controls=self.controls,
            options=dict(self.options),
            noise_model=self.noise_file or (None if self.noise_model is None else ""),
            seed=shared.seed,
            device=str(shared.device),
            slice=shared.slice,
            axis=plane_of(shared.model.card, shared.image),
        )

    @property
    def measuring(self) -> Passes:
        """The passes that the metrics take, at most."""
        maps = len(self.explanations) + len(self.maps)
        return planned_passes(self.metrics, maps, self.controls, **self.options)

    @property
    def passes(self) -> Passes:
        """The passes that are expected."""
        return sum((plan.passes for plan in self.explanations.values()), self.measuring)


def _found(
    target: Target | str | int, model: SegmentationModel, image: Image, asked: Mapping[str, Any]
) -> Target | str | int:
    """Return a target whose error, if it speaks of one, is found: once for all methods, by the truth of the comparison."""
    if not isinstance(target, Target) or not target.is_open:
        return target
    if target.truth is None:
        target = replace(target, truth=asked["truth"])
    return with_error_found(target, model, image, slice=asked["slice"], device=asked["device"])


def read_method(spec: MethodSpec) -> tuple[str, dict[str, Any]]:
    """Read "name:parameter=value" or (name, parameters).

    Raises
    ------
    UserError
        If it is neither.
    """
    if not isinstance(spec, str):
        name, parameters = spec
        return name, dict(parameters)
    name, *parts = spec.split(":")
    pairs = [part.partition("=") for part in parts]
    if any(not middle or not key for key, middle, _ in pairs):
        raise UserError(f"method {spec!r}: write its parameters as in rise:masks=100:cells=5.")
    return name.strip(), {key.strip(): value.strip() for key, _, value in pairs}


def _chosen(metrics: Sequence[str] | str | None, **known: bool) -> tuple[Metric, ...]:
    """Return the metrics by name; by default those for which `truth` and `noise_model` are known."""
    if metrics == "all":
        return tuple(choose(None, **known))
    if isinstance(metrics, str):
        metrics = [part.strip() for part in metrics.split(",")]
    usual = METRICS + WITH_TRUTH * known["truth"] + WITH_NOISE * known["noise_model"]
    return tuple(choose(metrics or usual, **known))


def names_of(specs: Sequence[tuple[str, Mapping[str, Any]]], taken: Collection[str] = ()) -> list[str]:
    """Name methods so that no two are called the same, nor as one that is taken."""
    methods = [method for method, _ in specs]
    names: list[str] = []
    for method, parameters in specs:
        name = method
        if methods.count(method) > 1 and parameters:
            name += " " + ", ".join(f"{key}={value}" for key, value in parameters.items())
        while name in names or name in taken:
            name += "'"
        names.append(name)
    return names
