"""What a comparison was asked, as data: kept with its result, so that it can be asked again."""

from __future__ import annotations

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

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain dicts and numbers, for the record."""
        return asdict(self)
