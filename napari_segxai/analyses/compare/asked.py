"""What a comparison was asked, as data: kept with its result, so that it can be asked again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Asked:
    """What a comparison, or a sweep, was asked beside its image, target, truth, metrics and the maps that were given.

    Attributes
    ----------
    methods : dict of str to dict
        By the name of their maps, also of those that a comparison which was stopped did not reach: the method and its
        parameters, defaults included.
    controls : int
        Random orders that were measured as well.
    options : dict
        Parameters of the metrics that were given; the others had their defaults.
    noise_model : str or None
        The file of the noise model; "" for a function, which no file holds; None without.
    seed : int
        Of everything random.
    device : str
        Where it was computed, as torch calls it.
    slice : int or None
        For a 2D model on a volume: the slice, as napari counts it.
    axis : int or None
        For a 2D model on a volume: the axis across which its slices lie, as napari counts it.
    """

    methods: dict[str, dict[str, Any]]
    controls: int
    options: dict[str, Any]
    noise_model: str | None
    seed: int
    device: str
    slice: int | None
    axis: int | None

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Asked:
        """Return what a record tells.

        Raises
        ------
        KeyError, TypeError, AttributeError
            If that is not what `as_dict` returns.
        """
        methods = {
            name: {"method": str(each["method"]), "parameters": dict(each["parameters"].items())}
            for name, each in told["methods"].items()
        }
        whole = {name: _whole(name, told[name]) for name in ("controls", "seed", "slice", "axis")}
        if None in (whole["controls"], whole["seed"]):
            raise TypeError("controls and seed have to be numbers")
        noise_model = told["noise_model"]
        return cls(
            methods=methods,
            options=dict(told["options"].items()),
            noise_model=None if noise_model is None else str(noise_model),
            device=str(told["device"]),
            **whole,  # ty: ignore[invalid-argument-type]
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain dicts and numbers, for the record."""
        return asdict(self)


def _whole(name: str, value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(f"{name} is {value!r}, no whole number")
    return value
