"""What the file of a reliability classifier says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from napari_segxai.core.errors import UserError
from napari_segxai.io.forms.values import Digest, Names, Share


class OfModelForm(TypedDict):  # noqa: D101
    name: str
    sha256: Digest


class SetForm(TypedDict):  # noqa: D101
    features: Names
    mean: list[float]
    scale: list[Annotated[float, Field(gt=0)]]
    coefficients: list[float]
    intercept: float


def _even(one: SetForm) -> SetForm:
    if len({len(one[word]) for word in ("features", "mean", "scale", "coefficients")}) > 1:
        raise ValueError("it has not one mean, scale and coefficient for every feature")
    return one


class ClassifierForm(TypedDict):  # noqa: D101
    kind: Literal["reliability classifier"]
    created: str
    versions: dict[str, str]
    model: OfModelForm
    map: str
    method: str
    parameters: dict[str, Any]
    good: Share
    labels: Annotated[dict[str, dict[str, Annotated[SetForm, AfterValidator(_even)]]], Field(min_length=1)]


def check_classifier(file: Path, told: Any) -> None:
    """Refuse a file that does not say what it should.

    Raises
    ------
    UserError
        It names the key.
    """
    try:
        TypeAdapter(ClassifierForm).validate_python(told, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        way = ".".join(str(step)[:100] for step in first["loc"])
        reason = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        raise UserError(f"{file}: lacks what a classifier says ({way}: {reason}); save it again.") from None
