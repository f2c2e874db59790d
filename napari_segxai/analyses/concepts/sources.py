"""Where concepts come from: true labels, predicted labels, or masks that were drawn; and reading a case with them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_segxai.analyses.inputs import as_image
from napari_segxai.core.errors import UserError, ended, reason_of
from napari_segxai.core.image import Image
from napari_segxai.core.paths import user_path
from napari_segxai.core.prediction import where
from napari_segxai.engine.entries import CaseEntry, Held
from napari_segxai.io import read_image
from napari_segxai.io.cases.case import Case, Cases
from napari_segxai.io.cases.masks import ConceptMasks, find_masks
from napari_segxai.models.ground_truth import ignored_by, truth_labels
from napari_segxai.models.segmentation import SegmentationModel

Kind = Literal["truth", "predicted", "masks"]


@dataclass(frozen=True)
class Concepts:
    """Where the concepts come from.

    Attributes
    ----------
    kind
        "truth": the labels as the truth of each case has them. "predicted": the labels as predicted. "masks": drawn ones.
    names
        As far as they are known before all masks are read.
    masks
        The files of drawn ones; else None.
    note
        What has to be said of the choice; "" where it was asked for.
    """

    kind: Kind
    names: tuple[str, ...]
    masks: ConceptMasks | None = None
    note: str = ""

    @property
    def told(self) -> str:
        """What the record says of them: "truth", "predicted", or the folder of the masks."""
        return self.kind if self.masks is None else os.fspath(self.masks.folder.absolute())


def read_concepts(given: str | os.PathLike[str] | None, cases: Cases, labels: Sequence[str]) -> Concepts:
    """Return the concepts that are asked for.

    Parameters
    ----------
    given
        "truth", "predicted", or a folder of masks. By default the truth, where a case has one, else what is predicted.
    labels
        Names of the labels that are concepts, where labels are.

    Raises
    ------
    UserError
        If there is no truth, or no such folder.
    """
    truths = any(case.truth is not None for case in cases)
    names = tuple(labels)
    if given == "truth" or (given is None and truths):
        if not truths:
            raise UserError(
                f"{cases.source.name} has no truth whose labels could be concepts; take predicted ones, or a folder of masks."
            )
        note = "" if given else "the concepts are the labels of the truth, since none were named."
        return Concepts("truth", names, note=note)
    if given is None:
        note = "the concepts are the labels as predicted, since none were named and there is no truth."
        return Concepts("predicted", names, note=note)
    if given == "predicted":
        return Concepts("predicted", names)
    found = find_masks(given, cases)
    return Concepts("masks", found.names, found)


def entry_of(case: Case, model: SegmentationModel, concepts: Concepts | None) -> CaseEntry:
    """Return how a method reads a case."""
    return CaseEntry(case.id, case.subject, partial(_held, case, model, concepts))


def _held(case: Case, model: SegmentationModel, concepts: Concepts | None) -> Held:
    image = as_image(case.read(), model)
    masks: Mapping[str, np.ndarray] | None = None
    ignored = None
    if concepts is not None and concepts.kind == "truth":
        values = _truth(case, image, model, concepts.names)
        if values is None:
            raise UserError(f"{case.id} has no truth, of which the concepts are taken.")
        masks = {
            name: where(values, model.label_index(name), overlapping=model.overlapping)
            for name in concepts.names
        }
        ignored = ignored_by(read_image(case.truth), image, model) if case.truth is not None else None
    elif concepts is not None and concepts.masks is not None:
        masks = concepts.masks.read(case.id, image)
    return Held(image, masks, partial(_truth, case, image, model, model.labels[1:]), ignored)


def _truth(case: Case, image: Image, model: SegmentationModel, labels: Sequence[str]) -> np.ndarray | None:
    if case.truth is None:
        return None
    positions = [model.label_index(name) for name in labels]
    return truth_labels(read_image(case.truth), image, model, positions)[0]


def check_first(
    cases: Cases, model: SegmentationModel, concepts: Concepts | None
) -> tuple[Image, tuple[str, ...]]:
    """Read the first case that can be read, with its masks, before the work begins.

    Returns
    -------
    Image
        Its image.
    tuple of str
        The concepts, as far as they are known now.

    Raises
    ------
    UserError
        If its mask does not suit its image, or no case can be read.
    """
    first: BaseException | None = None
    for case in cases:
        try:
            image = as_image(case.read(), model)
            model.prepare_check(image, None if model.slices(image) is None else 0)
        except Exception as reason:  # of a stranger's file; in its own row, if another can be read
            first = first or reason
            continue
        if concepts is None or concepts.masks is None or case.id not in concepts.masks.files:
            return image, () if concepts is None else concepts.names
        return image, tuple(concepts.masks.read(case.id, image))
    assert first is not None
    raise UserError(
        f"{cases.source.name} holds no image that {model.name} can be shown; {ended(reason_of(first))}"
    )


def cases_of(record: Mapping[str, Any]) -> Cases:
    """Return the cases of the record of a survey, as they were found then."""
    made = [
        Case(
            one["id"],
            tuple(map(Path, one["images"])),
            None if one["truth"] is None else Path(one["truth"]),
            "",
            one["subject"],
        )
        for one in record["cases"]
    ]
    return Cases(
        user_path(record["source"]), record["layout"], tuple(made), asked=dict(record.get("find", {}))
    )
