"""What the record of a survey says."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from napari_segxai.io.forms.common import FindForm, GalleryForm, ModelForm
from napari_segxai.io.forms.values import Count, Names, PassesForm, Plain, Seconds


class CaseForm(TypedDict):  # noqa: D101
    id: str
    subject: str
    images: Annotated[list[str], Field(min_length=1)]
    truth: str | None
    slice: Count | None
    error: str


class MapForm(TypedDict):  # noqa: D101
    case: str
    name: str
    file: str
    of: NotRequired[dict[str, Plain]]


class SurveyForm(TypedDict):  # noqa: D101
    files: dict[str, str]
    method: str
    parameters: dict[str, Plain]
    labels: Annotated[Names, Field(min_length=1)]
    concepts: str | None
    source: str
    layout: str
    find: NotRequired[FindForm]
    cases: Annotated[list[CaseForm], Field(min_length=1)]
    model: ModelForm
    device: str
    seed: Count
    passes: PassesForm
    seconds: Seconds
    results: dict[str, Plain]
    unit: str
    sentence: str
    warnings: list[str]
    partial: bool
    created: str
    versions: dict[str, str]
    rows: list[dict[str, Plain]]
    tables: dict[str, list[dict[str, Any]]]
    maps: list[MapForm]
    galleries: NotRequired[list[GalleryForm]]
