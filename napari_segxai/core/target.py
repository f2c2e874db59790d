"""What is explained: a label, the pixels asked about, and what is read of the network there."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from napari_segxai.core.arguments import check_fields, quoted, whole_number
from napari_segxai.core.arrays import as_array
from napari_segxai.core.errors import UserError

Score = Literal["logit", "probability", "log_probability"]
OwnScore = Callable[[Any, Any], Any]
"""A score of the user's: (logits (1, labels, *grid), region (*grid) bool) -> a tensor of one number, differentiable."""

OWN = "own"
"""What a record says of such a score, beside its name and the digest of its source."""

Error = Literal["false-positive", "false-negative"]
Reduction = Literal["mean", "sum"]

MOST_COMPONENTS = 10**6


@dataclass(frozen=True)
class Point:
    """One pixel, by its index in the spatial axes of the image.

    Parameters
    ----------
    at : tuple of int, one per spatial axis
        The index of the pixel, from 0.
    """

    at: tuple[int, ...]


@dataclass(frozen=True)
class Box:
    """All pixels from `low` to `high`, both included, by index in the spatial axes of the image.

    Parameters
    ----------
    low, high : tuple of int, one per spatial axis
        The corners, both included, from 0.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]


@dataclass(frozen=True)
class Component:
    """The connected component of the predicted label that holds a pixel.

    Parameters
    ----------
    at : tuple of int, one per spatial axis
        The index of a pixel in it, from 0.
    """

    at: tuple[int, ...]


Region = None | str | np.ndarray | Point | Box | Component | Sequence[Any]


@dataclass(frozen=True, eq=False)
class Target:
    """The question put to the network.

    Parameters
    ----------
    label : str or int
        The label by name (or position).
    region : None, "image", ndarray of bool of shape (*image grid), Point, Box, Component or tuple
        The set of pixels M that is asked about: None for the pixels predicted as the label; "image" for all
        pixels; a boolean array on the image grid; a `Point` (or a tuple of indices); a `Box` (or a pair of
        tuples); a `Component`.
    score : {"logit", "probability", "log_probability"} or callable
        What is read at every pixel: the label's logit, its probability or the logarithm of that. Or a function of yours of
        the logits, (1, labels, *model grid), and the region on it, boolean (*model grid), that returns a tensor of one number.
        Methods that differentiate or perturb a score take it; it has to be differentiable for the former.
    reduction : {"mean", "sum"}
        Whether the score is averaged or summed over M. The mean keeps objects of different size comparable. The sum of the
        probability over "image" is the label's probability mass, its expected size in pixels. A function of yours reduces itself.
    against : str or int, optional
        Another label, for a contrast: the score is that of `label` less that of this one, why `label` rather than it.
    boundary : (low, high), optional
        Instead of the region only a band along its border: from `low` to `high` in the image's units (mm where it knows them),
        counted from the border, negative inside; ``(-2, 2)`` is 2 mm to both sides.
    error : {"false-positive", "false-negative"}, optional
        The region is a connected component of what is predicted and not true, or true and not predicted; needs `truth`.
    component : int
        Which of these components, from 1, the largest first.
    truth : Image, str, Path, ndarray or mapping of these to labels, optional
        Where the label truly is, as `compare` takes it.

    Raises
    ------
    UserError
        If a score, a reduction or a region is not one of these.
    """

    label: str | int
    region: Region = None
    score: Score | OwnScore = "logit"
    reduction: Reduction = "mean"
    against: str | int | None = None
    boundary: tuple[float, float] | None = None
    error: Error | None = None
    component: int = 1
    truth: Any = None

    def __post_init__(self) -> None:
        check_fields(self, "region", "boundary", "truth", "component", "score")
        _check_own_score(self)
        for name, known in (("score", get_args(Score)), ("reduction", get_args(Reduction))):
            value = getattr(self, name)
            if not (name == "score" and callable(value)) and not (isinstance(value, str) and value in known):
                raise UserError(
                    f"target: {name} {quoted(getattr(self, name))} is unknown; choose {' or '.join(known)}."
                )
        object.__setattr__(self, "region", _read_region(self.region))
        object.__setattr__(self, "boundary", _read_boundary(self.boundary))
        object.__setattr__(self, "component", whole_number(self.component, "component", 1, MOST_COMPONENTS))
        if self.error is not None and self.error not in get_args(Error):
            raise UserError(
                f"target: error {self.error!r} is unknown; choose {' or '.join(get_args(Error))}."
            )
        if self.error is None and (self.truth is not None or self.component != 1):
            raise UserError(
                "target: truth and component are for an error; give error='false-positive' or 'false-negative'."
            )
        if self.truth is not None and self.region is not None:
            raise UserError("target: an error is a region of its own; leave region out.")

    @property
    def own_score(self) -> OwnScore | None:
        """The score, where it is a function of the user's."""
        return self.score if callable(self.score) else None

    @property
    def score_name(self) -> str:
        """The score in words."""
        return name_of(self.score) if callable(self.score) else str(self.score).replace("_", "-")

    @property
    def is_open(self) -> bool:
        """Whether the error of which it speaks has still to be found: by `resolved`, which needs the network."""
        return self.error is not None and self.region is None

    @classmethod
    def from_dict(cls, told: Mapping[str, Any], region: np.ndarray | None = None) -> Target:
        """Return the target of a record.

        Parameters
        ----------
        told : mapping
            With the keys of `as_dict`.
        region : ndarray of bool of shape (*image grid), optional
            Boolean, on the image grid: the region, where one was drawn.

        Raises
        ------
        UserError
            If the region was drawn and is not given.
        """
        shape = told["region"]
        score = KeptScore(**told["function"]) if told["score"] == OWN else told["score"]
        kinds: dict[str, Region] = {"predicted": None, "image": "image", "drawn": region}
        if shape["kind"] == "drawn" and region is None:
            raise UserError("the region was drawn, and its mask is not there; give the target again.")
        if shape["kind"] in ("point", "component"):
            at = tuple(shape["at"])
            kinds |= {"point": Point(at), "component": Component(at)}
        elif shape["kind"] == "box":
            kinds["box"] = Box(tuple(shape["low"]), tuple(shape["high"]))
        more = {name: told[name] for name in ("against", "boundary", "error", "component") if name in told}
        return cls(told["label"], kinds[shape["kind"]], score, told["reduction"], **more)

    def as_dict(self) -> dict[str, Any]:
        """Return label, region, score and reduction as plain values, for the record; and what else was asked, where it was.

        The region is a mapping with the key kind: "predicted", "image", "point" or "component" (with at), "box" (with
        low and high), or "drawn" (with pixels, their number, and the sha256 of the mask, which is a file of its own).
        """
        return {
            "label": self.label,
            "region": self._region_as_dict(),
            "score": self.score if self.own_score is None else OWN,
            **({} if self.own_score is None else {"function": _function_as_dict(self.own_score)}),
            "reduction": self.reduction,
            **({} if self.against is None else {"against": self.against}),
            **({} if self.boundary is None else {"boundary": list(self.boundary)}),
            **({} if self.error is None else {"error": self.error, "component": self.component}),
        }

    def _region_as_dict(self) -> dict[str, Any]:
        region = self.region
        if region is None:
            return {"kind": "predicted"}
        if isinstance(region, np.ndarray):
            digest = hashlib.sha256(f"{region.shape}".encode() + np.packbits(region).tobytes()).hexdigest()
            return {"kind": "drawn", "pixels": int(region.sum()), "sha256": digest}
        if isinstance(region, Box):
            return {"kind": "box", "low": list(region.low), "high": list(region.high)}
        if isinstance(region, Point | Component):
            return {"kind": type(region).__name__.lower(), "at": list(region.at)}
        return {"kind": "image"}


@dataclass(frozen=True)
class KeptScore:
    """What a record holds of a score of the user's: what it was, not how it is computed.

    Attributes
    ----------
    name, sha256
        Of the function, and of its source where there was one.
    """

    name: str
    sha256: str | None

    def __call__(self, logits: Any, region: Any) -> Any:
        """Refuse."""
        raise UserError(self.sentence)

    @property
    def sentence(self) -> str:
        """Why it cannot be asked again."""
        return f"the score was a function of a script, {self.name!r}, which no record holds; ask again with the function in a target."


def name_of(function: OwnScore) -> str:
    """Return the name of a function, or of what is called like one."""
    if isinstance(function, KeptScore):
        return function.name
    return str(getattr(function, "__name__", type(function).__name__))


def _function_as_dict(function: OwnScore) -> dict[str, Any]:
    """Return its name, and the digest of its source; None where there is none to be read."""
    if isinstance(function, KeptScore):
        return dict(vars(function))
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return {"name": name_of(function), "sha256": None}
    return {"name": name_of(function), "sha256": hashlib.sha256(source.encode()).hexdigest()}


def _check_own_score(target: Target) -> None:
    if target.own_score is None:
        return
    name = name_of(target.own_score)
    try:
        inspect.signature(target.own_score).bind(None, None)
    except TypeError:
        raise UserError(
            f"target: the score {name!r} has to take two arguments, the logits and the region."
        ) from None
    except ValueError:  # it has no signature that could be looked at
        pass
    if target.reduction != "mean" or target.against is not None:
        what = "reduction" if target.reduction != "mean" else "against"
        raise UserError(
            f"target: {what} is for scores that are read at every pixel; the score {name!r} is one number already, so leave it out."
        )


def region_words(region: Mapping[str, Any]) -> str:
    """Say in words what the region of a record is."""
    kind = region["kind"]
    if kind == "drawn":
        return f"drawn region of {region['pixels']} pixels"
    if kind == "box":
        return f"box {tuple(region['low'])} to {tuple(region['high'])}"
    if kind in ("point", "component"):
        words = {"point": "pixel", "component": "connected component at"}
        return f"{words[kind]} {tuple(region['at'])}"
    return {"predicted": "predicted pixels", "image": "whole image"}[kind]


def _read_boundary(band: Any) -> tuple[float, float] | None:
    if band is None:
        return None
    try:
        low, high = (float(value) for value in band)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        given = f"({', '.join(map(quoted, band))})" if isinstance(band, list | tuple) else quoted(band)
        raise UserError(
            f"target: boundary {given:.60} is no band; give two distances from the border, the lower one first and negative "
            "inside, such as (-2, 2)."
        )
    return low, high


def _plain(index: Any) -> Any:
    """Return an index as a tuple of Python's whole numbers; what is none stays, and is refused with the image."""
    return tuple(int(v) for v in index) if is_index(index) else index


def _read_region(region: Region) -> str | np.ndarray | Point | Box | Component | None:
    if region is None:
        return region
    if isinstance(region, Point | Box | Component):
        corners = {name: _plain(index) for name, index in vars(region).items()}
        return type(region)(**corners)
    if isinstance(region, str):
        if region != "image":
            raise UserError(f"region {region!r} is unknown; use 'image', an array, a point or a box.")
        return region
    if is_index(region) and len(region):
        return Point(_plain(region))
    if isinstance(region, tuple | list) and len(region) == 2 and all(is_index(v) for v in region):
        low, high = region
        return Box(_plain(low), _plain(high))
    try:
        array = as_array(region)
    except ValueError:  # rows of different length
        raise UserError("the rows of a region array have to be equally long.") from None
    if array.dtype.kind not in "bui":
        raise UserError(f"a region array is boolean (or whole numbers, 0 outside), not {array.dtype}.")
    return array.astype(bool)


def is_index(value: object) -> bool:
    """Tell whether `value` is a tuple, list or row of whole numbers (truth values are none)."""
    if hasattr(value, "__array__"):
        value = as_array(value)
        return value.ndim == 1 and value.dtype.kind in "iu"
    return isinstance(value, tuple | list) and all(
        isinstance(v, int | np.integer) and not isinstance(v, bool) for v in value
    )
