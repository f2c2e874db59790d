"""The one list of keyword arguments by which maps are measured: of `compare`, `evaluate` and `sweep` alike.

It is a `TypedDict` that functions take as ``**measuring: Unpack[Measuring]``: type checkers and editors then know the name
and the type of every keyword, which they could not read from a dataclass whose fields are passed on. `inspect.signature`
and `help` know nothing of `Unpack`, so that `spelled_out` tells them the same list, with its defaults.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import torch

from napari_segxai.engine.masking.baselines import Baseline
from napari_segxai.metrics.functional.localization import Ties
from napari_segxai.metrics.functional.noise import NoiseModel
from napari_segxai.metrics.functional.thresholding import Keep, Kind
from napari_segxai.models.ground_truth import Truth

F = TypeVar("F", bound=Callable[..., Any])


class MetricParameters(TypedDict, total=False):
    """Parameters of the metrics, for type checkers; `metrics.evaluation.Options` says what they are and checks them."""

    threshold: Kind
    level: float | None
    components: Keep
    binarize: float
    baseline: Baseline
    steps: int
    insertion_canvas: Baseline
    deletion_canvas: Baseline
    ties: Ties
    tolerance: float
    tau: float
    sigma: float
    chance: int
    boundary: float


class Measuring(MetricParameters, total=False):
    """What is measured of maps, against what, and where.

    Attributes
    ----------
    truth : numpy.ndarray, Image or mapping, optional
        True labels, on the image's grid or as an `Image` that knows where it lies; boolean: where this label is. For
        labels that may overlap: a mask for each, along the first axis or by name.
    noise_model : callable, str or Path, optional
        For ANA and SRM: the file that u-noise saved as its `weights`, or a callable, see `metrics.functional.noise.NoiseModel`.
    metrics : sequence of str or str, optional
        Names, or "all"; by default a handful. See `list_metrics`.
    seed : int, default: 0
        Seed of everything random. The same seed gives the same result, on the CPU bit for bit.
    device : str or torch.device, default: "auto"
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    slice : int, optional
        For a 2D model on a volume, which needs one: the slice, counted as napari shows the volume.
    axis : int, optional
        For a 2D model on a volume: the axis across which the slices lie, counted as napari shows the volume. What the
        model card says by default, else 0.
    """

    truth: Truth | None
    noise_model: NoiseModel | str | Path | None
    metrics: Sequence[str] | str | None
    seed: int
    device: str | torch.device
    slice: int | None
    axis: int | None


class MeasuringWithControls(Measuring, total=False):
    """The same, and random orders beside the maps.

    Attributes
    ----------
    controls : int, default: 1
        Random orders that go through insertion and deletion as well.
    """

    controls: int


DEFAULTS: MeasuringWithControls = {
    "truth": None,
    "noise_model": None,
    "metrics": None,
    "controls": 1,
    "seed": 0,
    "device": "auto",
    "slice": None,
    "axis": None,
}

OPTIONS = """**options
    Parameters of the metrics, such as threshold, binarize, baseline, steps."""
"""What `help` says of all others."""


def with_defaults(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keywords of the list, with a default where one was not given, and the parameters of the metrics."""
    asked = {name: given.get(name, default) for name, default in DEFAULTS.items()}
    return asked, {name: value for name, value in given.items() if name not in asked}


def spelled_out(keywords: type) -> Callable[[F], F]:
    """Tell `inspect.signature` and `help` of the keywords that a function takes as ``**measuring``.

    In its docstring, an entry for each of them stands in place of the line ``**measuring``.

    Parameters
    ----------
    keywords : type
        `Measuring` or `MeasuringWithControls`.
    """
    types = keywords.__annotations__
    names = [name for name in DEFAULTS if name in types]

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        *own, rest = signature.parameters.values()
        shown = [
            inspect.Parameter(
                name, rest.KEYWORD_ONLY, default=DEFAULTS[name], annotation=types[name].__forward_arg__
            )
            for name in names
        ]
        options = rest.replace(name="options", annotation="Any")
        function.__signature__ = signature.replace(parameters=[*own, *shown, options])  # type: ignore[attr-defined]
        if function.__doc__ is not None:  # without docstrings Python is run with -OO
            entries = "\n".join([*(_ENTRIES[name] for name in names), OPTIONS])
            doc = inspect.cleandoc(function.__doc__)
            entry = re.compile(r"^\*\*measuring\b.*(?:\n    .*)*", flags=re.MULTILINE)
            function.__doc__ = entry.sub(lambda _: entries, doc, count=1) + "\n"
        return function

    return decorate


def _entries(doc: str | None) -> dict[str, str]:
    """Return the entries of a docstring's attributes by name."""
    _, _, listed = inspect.cleandoc(doc or "").partition("Attributes\n----------\n")
    found = re.findall(r"^\w+ : .*(?:\n    .*)*", listed, flags=re.MULTILINE)
    return {entry.partition(" : ")[0]: entry for entry in found}


_ENTRIES = {**_entries(Measuring.__doc__), **_entries(MeasuringWithControls.__doc__)}
