"""What a record says of its image."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict

from napari_segxai.io.forms.values import (
    EXACT,
    Affine,
    Axis,
    Count,
    Digest,
    DType,
    Matrix,
    Pair,
    Positive,
    Shape,
    Time,
)


class VolumeHeaderForm(TypedDict):  # noqa: D101
    kind: str
    endianness: Literal["<", ">"]
    base64: Annotated[str, Field(max_length=4096)]


class HeaderForm(TypedDict, total=False):  # noqa: D101
    format: str
    path: str | None
    shape: Shape
    affine: Affine
    header: VolumeHeaderForm | None
    intent: int
    sform_code: int
    qform_code: int
    scaling: Pair
    units: int
    time: Time
    rgb: bool
    at: dict[str, Count]


class TransformForm(TypedDict):  # noqa: D101
    scale: list[float]
    translate: list[float]
    rotate: Matrix
    shear: list[float] | Matrix
    affine: Matrix
    units: list[str]
    axis_labels: list[str]


class AroundForm(TypedDict):  # noqa: D101
    axes: list[Count]
    counts: list[Positive]
    transform: TransformForm
    inner: Matrix


class PairsForm(TypedDict):  # noqa: D101
    pairs: list[Annotated[list[Count], Field(min_length=2, max_length=2)]]


@with_config(EXACT)
class NoneForm(TypedDict):
    """No keys at all: what a mapping with whole numbers as keys becomes without any."""


class LayerForm(TypedDict, total=False):  # noqa: D101
    scale: list[float]
    translate: list[float]
    rotate: Matrix
    shear: list[float] | Matrix
    affine: Matrix
    units: list[str]
    axis_labels: list[str]
    letters: str
    spatial: list[Count]
    level: Count
    factors: list[float]
    around: AroundForm
    at: PairsForm | NoneForm
    chosen: bool
    source: str | None


class ChannelForm(TypedDict):  # noqa: D101
    name: str
    path: str | None


class ImageForm(TypedDict):  # noqa: D101
    name: str
    path: str | None
    sha256: Digest
    shape: Shape
    dtype: DType
    spacing: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2, max_length=3)]
    units: str
    affine: Affine | None
    channel_axis: Count | None
    time_axis: Count | None
    plane: Axis | None
    format: str | None
    header: HeaderForm
    layer: LayerForm
    axes: NotRequired[str]
    at: NotRequired[dict[str, Count]]
    level: NotRequired[Count]
    channels: NotRequired[list[ChannelForm]]
