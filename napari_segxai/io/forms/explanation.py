"""What the record of an explanation says."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from napari_segxai.core.record import SCHEMA
from napari_segxai.io.forms.common import EveryForm, GalleryForm, TargetForm
from napari_segxai.io.forms.values import (
    Affine,
    Axis,
    Columns,
    Count,
    Limits,
    PassesForm,
    Plain,
    Rows,
    Seconds,
)


class DisplayForm(TypedDict):  # noqa: D101
    values: str
    unit: str
    signed: bool
    range: Annotated[list[float | None], Field(min_length=2, max_length=2)]
    contrast_limits: Limits


class VerdictForm(TypedDict):  # noqa: D101
    check: str
    passed: bool | None
    number: float | None
    threshold: float | None
    sentence: str
    details: dict[str, Plain]
    parameters: dict[str, Plain]
    passes: PassesForm
    seconds: Seconds


class ExplanationForm(EveryForm):  # noqa: D101
    kind: NotRequired[Literal["explanation"]]
    schema: Annotated[int, Field(ge=SCHEMA, le=SCHEMA)]
    method: str
    parameters: dict[str, Plain]
    target: TargetForm
    device: str
    seed: Count
    slice: Count | None
    axis: Axis | None
    results: dict[str, Plain | dict[str, Plain]]
    display: DisplayForm
    partial: bool
    engine: dict[str, Plain]
    trust: list[VerdictForm]
    maps: dict[str, str]
    series: NotRequired[dict[str, str]]
    masks: dict[str, str]
    prediction: str | dict[str, str]
    native_affine: Affine | None
    stage_table: Rows
    curves: dict[str, Columns]
    tables: NotRequired[dict[str, list[dict[str, Plain]]]]
    galleries: NotRequired[list[GalleryForm]]
