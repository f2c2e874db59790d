"""What records of all kinds say alike: what was asked, and of which model."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from napari_segxai.io.forms.image import ImageForm
from napari_segxai.io.forms.values import (
    Count,
    Digest,
    Index,
    Limits,
    Names,
    PassesForm,
    Plain,
    Seconds,
    Share,
)


class PredictedForm(TypedDict):  # noqa: D101
    kind: Literal["predicted", "image"]


class PointForm(TypedDict):  # noqa: D101
    kind: Literal["point", "component"]
    at: Index


class BoxForm(TypedDict):  # noqa: D101
    kind: Literal["box"]
    low: Index
    high: Index


class DrawnForm(TypedDict):  # noqa: D101
    kind: Literal["drawn"]
    pixels: Count
    sha256: Digest


class FunctionForm(TypedDict):  # noqa: D101
    name: str
    sha256: Digest | None


class QuestionForm(TypedDict):  # noqa: D101
    region: Annotated[PredictedForm | PointForm | BoxForm | DrawnForm, Field(discriminator="kind")]
    score: Literal["logit", "probability", "log_probability", "own"]
    function: NotRequired[FunctionForm]
    reduction: Literal["mean", "sum"]
    against: NotRequired[str | Count]
    boundary: NotRequired[Annotated[list[float], Field(min_length=2, max_length=2)]]
    error: NotRequired[Literal["false-positive", "false-negative"]]
    component: NotRequired[Annotated[int, Field(ge=1)]]


class TargetForm(QuestionForm):  # noqa: D101
    label: str | Count


class FindForm(TypedDict):  # noqa: D101
    truth: NotRequired[str]
    channels: NotRequired[Names]


class ModelForm(TypedDict):  # noqa: D101
    name: str
    source: str
    path: str | None
    labels: Annotated[Names, Field(min_length=1)]
    overlapping: bool
    thresholds: NotRequired[dict[str, Share] | None]
    windows: NotRequired[dict[str, Any]]
    paint_order: NotRequired[Names | None]
    sha256: Digest
    license: str | None


class PictureForm(TypedDict):  # noqa: D101
    row: str
    text: str
    limits: Limits
    case: str
    at: list[Count]
    of: NotRequired[dict[str, Plain]]


class GalleryForm(TypedDict):  # noqa: D101
    name: str
    title: str
    caption: str
    file: str
    pictures: list[PictureForm]


class EveryForm(TypedDict):
    """What every record says."""

    files: dict[str, str]
    model: ModelForm
    image: ImageForm
    passes: PassesForm
    seconds: Seconds
    warnings: list[str]
    created: str
    versions: dict[str, str]
