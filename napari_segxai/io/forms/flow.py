"""What the record of an information flow says."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict

from napari_segxai.io.forms.common import EveryForm, QuestionForm
from napari_segxai.io.forms.values import EXACT, Axis, Count, Grid, Names, Plain, Shape


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
    box: NotRequired[list[Annotated[list[Count], Field(min_length=2, max_length=2)]] | None]
    seen: NotRequired[bool]
    first_slice: NotRequired[Count]
    apart: NotRequired[Annotated[list[Axis | None], Field(min_length=2, max_length=2)]]
    nearest_apart: NotRequired[bool]
    steps: NotRequired[list[Annotated[float, Field(gt=0)]] | None]
    first: NotRequired[list[float] | None]
    start: NotRequired[list[int] | None]


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
