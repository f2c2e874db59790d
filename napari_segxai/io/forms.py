"""What a record of every kind says, key by key: checked before anything that a stranger may have written is used.

docs/file_formats.md has the meanings. Keys that are not named here are let through and not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, NotRequired

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from napari_segxai.core.errors import UserError
from napari_segxai.core.record import SCHEMA
from napari_segxai.io.held import KINDS

EXACT = ConfigDict(extra="forbid")
"""Of a form without other keys."""

# -- small things -------------------------------------------------------------------------------------------


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("a name stands there twice")
    return names


def _rectangle(rows: list[list[float]]) -> list[list[float]]:
    if len({len(row) for row in rows}) > 1:
        raise ValueError("rows have to be of one length")
    return rows


def _place(rows: list[list[float]]) -> list[list[float]]:
    matrix = np.array(rows, float)
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not lengths.all() or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-6 or rows[3] != [0, 0, 0, 1]:
        raise ValueError("this affine is singular")
    return rows


def _numbers(name: str) -> str:
    try:
        kind = np.dtype(name).kind
    except (TypeError, ValueError):
        kind = "?"
    if kind not in "buif":
        raise ValueError("this is not a type of numbers")
    return name


def _columns(curve: dict[str, list[Any]]) -> dict[str, list[Any]]:
    if len({len(column) for column in curve.values()}) > 1:
        raise ValueError("columns have to be of one length")
    return curve


def _rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if any(row.keys() != rows[0].keys() for row in rows):
        raise ValueError("rows have to have the same columns")
    return rows


def _limits(limits: list[float]) -> list[float]:
    if not limits[0] < limits[1]:
        raise ValueError("the lower limit has to come first")
    return limits


Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Names = Annotated[list[str], AfterValidator(_distinct)]
Pair = Annotated[list[float], Field(min_length=2, max_length=2)]
Row4 = Annotated[list[float], Field(min_length=4, max_length=4)]
Affine = Annotated[list[Row4], Field(min_length=4, max_length=4), AfterValidator(_place)]
Matrix = Annotated[list[list[float]], AfterValidator(_rectangle)]
Shape = Annotated[list[Positive], Field(min_length=1, max_length=6)]
Grid = Annotated[list[Positive], Field(min_length=2, max_length=3)]
Index = Annotated[list[Count], Field(min_length=2, max_length=3)]
Columns = Annotated[dict[str, list[float | None]], AfterValidator(_columns)]
DType = Annotated[str, AfterValidator(_numbers)]
Axis = Annotated[int, Field(ge=0, le=2)]
Time = Annotated[list[float | str], Field(min_length=3, max_length=3)]
Scalar = None | bool | float | str
Plain = Scalar | list[Scalar]


class PassesForm(TypedDict):  # noqa: D101  (all forms: see docs/file_formats.md)
    forward: Count
    backward: Count
    suffix: NotRequired[Count]


# -- the image ----------------------------------------------------------------------------------------------


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


# -- what was asked of what ---------------------------------------------------------------------------------


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


class QuestionForm(TypedDict):  # noqa: D101
    region: Annotated[PredictedForm | PointForm | BoxForm | DrawnForm, Field(discriminator="kind")]
    score: Literal["logit", "probability", "log_probability"]
    reduction: Literal["mean", "sum"]


class TargetForm(QuestionForm):  # noqa: D101
    label: str | Count


class ModelForm(TypedDict):  # noqa: D101
    name: str
    source: str
    path: str | None
    labels: Annotated[Names, Field(min_length=1)]
    overlapping: bool
    thresholds: NotRequired[dict[str, Share] | None]
    paint_order: NotRequired[Names | None]
    sha256: Digest
    license: str | None


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


# -- an explanation -----------------------------------------------------------------------------------------


class DisplayForm(TypedDict):  # noqa: D101
    values: str
    unit: str
    signed: bool
    range: Annotated[list[float | None], Field(min_length=2, max_length=2)]
    contrast_limits: Annotated[Pair, AfterValidator(_limits)]


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
    masks: dict[str, str]
    prediction: str | dict[str, str]
    native_affine: Affine | None
    stage_table: Annotated[list[dict[str, float | None]], AfterValidator(_rows)]
    curves: dict[str, Columns]


# -- comparisons and sweeps ---------------------------------------------------------------------------------


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


# -- an information flow ------------------------------------------------------------------------------------


@with_config(EXACT)
class NetworkLayerForm(TypedDict):  # noqa: D101
    name: str
    type: str
    stage: Literal["encoder", "bottleneck", "decoder", "head", "skip", "side", "unused"]
    shape: Shape
    order: Count
    reason: str
    aliases: list[str]
    convolution: bool
    elsewhere: str


@with_config(EXACT)
class PlacementForm(TypedDict):  # noqa: D101
    image_shape: Grid
    turn: Annotated[list[list[Any]], Field(min_length=2, max_length=2)]
    slice: Count | None
    resampled_shape: Grid
    shape: Grid
    linear: bool


class RemarkForm(TypedDict):  # noqa: D101
    rule: str
    words: list[str]
    numbers: list[str]


class FlowForm(EveryForm):  # noqa: D101
    method: str
    parameters: dict[str, Plain]
    target: QuestionForm
    labels: Annotated[Names, Field(min_length=1)]
    layers: Names
    device: str
    seed: Count
    slice: Count | None
    axis: Axis | None
    unit: str
    engine: dict[str, Plain]
    truth: NotRequired[str | dict[str, str] | None]
    truth_notes: NotRequired[list[str]]
    notes: dict[str, list[str]]
    missed: dict[str, str]
    bottlenecks: Names
    attention: bool
    network_layers: Annotated[list[NetworkLayerForm], Field(min_length=1)]
    placement: PlacementForm
    prediction: str | dict[str, str]
    advice: list[list[RemarkForm]]
    tiles: NotRequired[list[Annotated[list[str], Field(min_length=3, max_length=3)]]]


# -- the check ----------------------------------------------------------------------------------------------

FORMS: dict[str, Any] = {
    "explanation": ExplanationForm,
    "comparison": ComparisonForm,
    "sweep": SweepForm,
    "information flow": FlowForm,
    "rows": list[RowForm],
}
"""By what is read: the kind of a record, or "rows" for rows.json."""


@cache
def _adapter(kind: str) -> TypeAdapter:
    return TypeAdapter(FORMS[kind])


def check_form(where: object, kind: str, told: Any) -> None:
    """Refuse what does not say what it should.

    Parameters
    ----------
    where
        The folder or file that is named in the sentence.
    kind
        A key of `FORMS`; any other has no form.
    told
        What was read.

    Raises
    ------
    UserError
        It names the key, and what would be right there.
    """
    if kind not in FORMS:
        return
    try:
        _adapter(kind).validate_python(told, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        reason = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        what = "the table of a comparison" if kind == "rows" else f"the record of {KINDS[kind]}"
        raise UserError(
            f"{where}: its record lacks what {what} says ({_way(told, first['loc'])}: {reason}); save the result again."
        ) from None


def _way(told: Any, steps: tuple[int | str, ...]) -> str:
    """Return the keys on the way to a value, without the names of forms that pydantic puts between them."""
    way = []
    for step in steps:
        if isinstance(told, Mapping):
            if step not in told and step != steps[-1]:
                continue
            told = told.get(step)
        elif isinstance(told, list) and isinstance(step, int) and step < len(told):
            told = told[step]
        else:
            continue
        way.append(str(step)[:100])
    return ".".join(way) or "the whole"
