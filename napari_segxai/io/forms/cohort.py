"""What the record of a cohort says."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from napari_segxai.io.forms.common import FindForm, ModelForm
from napari_segxai.io.forms.values import Count, Digest, Names
from napari_segxai.io.held import is_inside


def _inside(name: str) -> str:
    if not is_inside(name):
        raise ValueError("this lies outside the folder")
    return name


Place = Annotated[str, AfterValidator(_inside)]


class CaseForm(TypedDict):  # noqa: D101
    id: str
    folder: Place
    images: Annotated[list[str], Field(min_length=1)]
    truth: str | None


def _each_once(cases: list[CaseForm]) -> list[CaseForm]:
    for word in ("id", "folder"):
        if len({case[word] for case in cases}) < len(cases):
            raise ValueError(f"two cases have one {word}")
    return cases


class JobForm(TypedDict):  # noqa: D101
    kind: Literal["objects", "map", "flow", "channels"]
    label: str
    map: str
    place: Place
    asked: Digest


class LeftOutForm(TypedDict):  # noqa: D101
    name: str
    reason: str


class MethodForm(TypedDict):  # noqa: D101
    method: str
    parameters: dict[str, Any]


class CohortForm(TypedDict):  # noqa: D101
    kind: Literal["cohort"]
    files: dict[str, str]
    created: str
    versions: dict[str, str]
    model: ModelForm
    source: str
    layout: str
    find: NotRequired[FindForm]
    labels: Annotated[Names, Field(min_length=1)]
    methods: dict[str, MethodForm]
    metrics: Names
    keep: Literal["all", "tables"]
    parquet: bool
    flow: dict[str, Any] | None
    channels: dict[str, Any] | None
    target: NotRequired[dict[str, Any]]
    seed: Count
    threads: Count
    device: str
    cases: Annotated[list[CaseForm], Field(min_length=1), AfterValidator(_each_once)]
    jobs: Annotated[list[JobForm], Field(min_length=1)]
    left_out: list[LeftOutForm]
