"""What the records of a comparison and of a sweep say, and a row of their table."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from napari_segxai.io.forms.common import EveryForm, TargetForm
from napari_segxai.io.forms.values import Axis, Columns, Count, DType, Names, Plain


class MapForm(TypedDict):  # noqa: D101
    folder: str
    method: NotRequired[str]
    parameters: NotRequired[dict[str, Plain]]
    dtype: NotRequired[DType]


class SpecForm(TypedDict):  # noqa: D101
    method: str
    parameters: dict[str, Plain]


class AskedForm(TypedDict):  # noqa: D101
    methods: dict[str, SpecForm]
    controls: Count
    options: dict[str, Plain]
    noise_model: str | None
    seed: Count
    device: str
    slice: Count | None
    axis: Axis | None


class ComparisonForm(EveryForm):  # noqa: D101
    target: TargetForm
    label: Count
    metrics: Names
    truth: bool
    partial: bool
    maps: dict[str, MapForm]
    asked: NotRequired[AskedForm | None]
    prediction: str | dict[str, str] | None


class ChanceForm(TypedDict):  # noqa: D101
    map: str
    number: str
    mean: float
    high: float
    curve: None


class SweepForm(ComparisonForm):  # noqa: D101
    method: str
    grid: Annotated[
        dict[str, Annotated[list[str | float | bool | None], Field(min_length=1)]],
        Field(min_length=1, max_length=2),
    ]
    fixed: NotRequired[dict[str, Plain]]
    own_chance: list[ChanceForm]


class RowForm(TypedDict):
    """A row of rows.json."""

    map: str
    metric: str
    title: str
    unit: str
    better: Literal["higher", "lower"] | None
    family: str
    form: str
    value: float | None
    reason: str
    curve: Columns | None
    chance: NotRequired[float | None]
    chance_high: NotRequired[float | None]
    above_chance: NotRequired[bool | None]
    chance_curve: NotRequired[Columns | None]
