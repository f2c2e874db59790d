"""What the jobs of one case have in common: image, truth, and what the network makes of the image, each made once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from napari_segxai.analyses.cohort.jobs.objects import Seen, look
from napari_segxai.analyses.cohort.jobs.questions import target_of_case
from napari_segxai.analyses.cohort.plan import CohortPlan
from napari_segxai.analyses.inputs import as_image
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.prediction import where
from napari_segxai.core.target import Target
from napari_segxai.io import read_image
from napari_segxai.io.cases.case import Case
from napari_segxai.models.ground_truth import truth_labels


class Inputs:
    """Image and truth of a case, read when the first job needs them, and the prediction.

    Attributes
    ----------
    notes
        What was said of the files while they were read, in sentences.
    """

    def __init__(self, case: Case):
        self.case = case
        self.notes: list[str] = []
        self._image: Image | None = None
        self._truth: Image | None = None
        self._usable: tuple[Image | None, list[str]] | None = None
        self._seen: Seen | None = None

    @property
    def image(self) -> Image:
        """The image."""
        if self._image is None:
            self._image = self._read(self.case.read)
        return self._image

    @property
    def truth(self) -> Image | None:
        """The truth, if the case has one."""
        path = self.case.truth
        if self._truth is None and path is not None:
            self._truth = self._read(lambda: read_image(path))
        return self._truth

    def _read(self, read: Callable[[], Image]) -> Image:
        """Read, and keep what is said meanwhile: of hundreds of cases nobody could tell which one was meant."""
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            image = read()
        for one in said:
            if one.category is UserWarning:
                self.notes.append(str(one.message))
            else:
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        return image

    def usable_truth(self, plan: CohortPlan) -> tuple[Image | None, list[str]]:
        """Return the truth for what can do without one, and why there is none in a sentence.

        That it cannot be read or used is the error of the objects, once; maps, flows and channels are made all the same.
        """
        if self._usable is None:
            image = as_image(self.image, plan.model)
            try:
                if self.truth is not None:
                    positions = [plan.model.label_index(label) for label in plan.labels]
                    truth_labels(self.truth, image, plan.model, positions)
                self._usable = self.truth, []
            except UserError as reason:
                self._usable = None, [f"without the truth, which cannot be used: {reason}"]
        return self._usable

    def seen(self, plan: CohortPlan) -> Seen:
        """What the network makes of the image: one pass, or one per slice."""
        if self._seen is None:
            image = as_image(self.image, plan.model)
            positions = [plan.model.label_index(label) for label in plan.labels]
            self._seen = look(plan.model, image, positions, plan.device)
        return self._seen

    def target(
        self, plan: CohortPlan, label: str, component: int
    ) -> tuple[Target | None, dict[str, Any], str]:
        """Return what is asked about a label here, what its row tells of it, and why it cannot be asked; see `target_of_case`."""
        image, drawn = as_image(self.image, plan.model), None
        if component:
            position = plan.model.label_index(label)
            drawn = where(self.seen(plan).prediction, position, overlapping=plan.model.overlapping)
        truth = self.truth if component else None
        return target_of_case(plan.target, component, plan.model, image, label, truth, drawn)

    def slice(self, plan: CohortPlan, label: str | None = None) -> int | None:
        """For a 2D model on a volume: the slice in which a label, or all together, is largest, as napari counts it; else None."""
        if plan.model.slices(as_image(self.image, plan.model)) is None:
            return None
        labels = plan.labels if label is None else (label,)
        return self.seen(plan).largest_slice([plan.model.label_index(one) for one in labels])
