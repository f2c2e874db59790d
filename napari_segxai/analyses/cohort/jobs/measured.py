"""What is measured of every map of a cohort: metrics, each with parameters of its own, so that thresholds stand beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from napari_segxai.core.errors import UserError
from napari_segxai.core.options import make_options
from napari_segxai.metrics.evaluation import Options
from napari_segxai.metrics.registry import Metric, find_metric


@dataclass(frozen=True)
class Measured:
    """A metric and its parameters.

    Attributes
    ----------
    name
        Of its column: "dice-explained", or "dice-explained:binarize=0.05".
    metric
        Which it is.
    options
        Parameters that are not as they are by default.
    """

    name: str
    metric: Metric
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs."""
        return self.metric.needs


def read_metrics(specs: Sequence[str]) -> tuple[Measured, ...]:
    """Read "metric" or "metric:parameter=value".

    Raises
    ------
    UserError
        If there is no such metric or parameter.
    """
    found: dict[str, Measured] = {}
    for spec in specs:
        name, *parts = spec.split(":")
        pairs = [part.partition("=") for part in parts]
        if any(not equals or not key.strip() for key, equals, _ in pairs):
            raise UserError(f"metric {spec!r}: write its parameters as in dice-explained:binarize=0.05.")
        metric = find_metric(name.strip())
        given = {key.strip(): value.strip() for key, _, value in pairs}
        values = make_options(Options, given, metric.name)
        own = {key: getattr(values, key) for key in given if getattr(values, key) != getattr(Options, key)}
        column = ":".join([metric.name, *(f"{key}={_short(value)}" for key, value in own.items())])
        found[column] = Measured(column, metric, own)
    return tuple(found.values())


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def by_options(metrics: Sequence[Measured]) -> list[tuple[Mapping[str, Any], list[Measured]]]:
    """Return metrics that are measured together, since they have the same parameters."""
    groups: dict[tuple, list[Measured]] = {}
    for one in metrics:
        groups.setdefault(tuple(sorted(one.options.items())), []).append(one)
    return [(dict(key), some) for key, some in groups.items()]
