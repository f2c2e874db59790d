"""Holding a record against its form."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from napari_segxai.core.errors import UserError
from napari_segxai.io.forms.cohort import CohortForm
from napari_segxai.io.forms.comparison import ComparisonForm, RowForm, SweepForm
from napari_segxai.io.forms.explanation import ExplanationForm
from napari_segxai.io.forms.flow import FlowForm
from napari_segxai.io.forms.survey import SurveyForm
from napari_segxai.io.held import KINDS

FORMS: dict[str, Any] = {
    "explanation": ExplanationForm,
    "comparison": ComparisonForm,
    "sweep": SweepForm,
    "information flow": FlowForm,
    "cohort": CohortForm,
    "survey": SurveyForm,
    "rows": list[RowForm],
}
"""By what is read: the kind of a record, or "rows" for rows.json."""


@cache
def _adapter(kind: str) -> TypeAdapter:
    return TypeAdapter(FORMS[kind])


def check_form(where: object, kind: str, content: Any) -> None:
    """Refuse what does not say what it should.

    Parameters
    ----------
    where
        The folder or file that is named in the sentence.
    kind
        A key of `FORMS`; any other has no form.
    content
        What was read.

    Raises
    ------
    UserError
        It names the key, and what would be right there.
    """
    if kind not in FORMS:
        return
    try:
        _adapter(kind).validate_python(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        reason = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        what = "the table of a comparison" if kind == "rows" else f"the record of {KINDS[kind]}"
        raise UserError(
            f"{where}: its record lacks what {what} says ({_way(content, first['loc'])}: {reason}); save the result again."
        ) from None


def _way(content: Any, steps: tuple[int | str, ...]) -> str:
    """Return the keys on the way to a value, without the names of forms that pydantic puts between them."""
    way = []
    for step in steps:
        if isinstance(content, Mapping):
            if step not in content and step != steps[-1]:
                continue
            content = content.get(step)
        elif isinstance(content, list) and isinstance(step, int) and step < len(content):
            content = content[step]
        else:
            continue
        way.append(str(step)[:100])
    return ".".join(way) or "the whole"
