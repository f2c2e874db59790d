"""What the jobs of one case have in common: image, truth, and what the network makes of the image, each made once."""

from __future__ import annotations

from napari_segxai.analyses.cohort.objects import Seen, look
from napari_segxai.analyses.cohort.plan import CohortPlan
from napari_segxai.analyses.explain.plan import as_image
from napari_segxai.core.image import Image
from napari_segxai.io import read_image
from napari_segxai.io.cases.case import Case


class Inputs:
    """Image and truth of a case, read when the first job needs them, and the prediction."""

    def __init__(self, case: Case):
        self.case = case
        self._image: Image | None = None
        self._truth: Image | None = None
        self._seen: Seen | None = None

    @property
    def image(self) -> Image:
        """The image."""
        if self._image is None:
            self._image = self.case.read()
        return self._image

    @property
    def truth(self) -> Image | None:
        """The truth, if the case has one."""
        if self._truth is None and self.case.truth is not None:
            self._truth = read_image(self.case.truth)
        return self._truth

    def seen(self, plan: CohortPlan) -> Seen:
        """What the network makes of the image: one pass, or one per slice."""
        if self._seen is None:
            image = as_image(self.image, plan.model)
            positions = [plan.model.label_index(label) for label in plan.labels]
            self._seen = look(plan.model, image, positions, plan.device)
        return self._seen

    def slice(self, plan: CohortPlan, label: str | None = None) -> int | None:
        """For a 2D model on a volume: the slice in which a label, or all together, is largest, as napari counts it; else None."""
        if plan.model.slices(as_image(self.image, plan.model)) is None:
            return None
        labels = plan.labels if label is None else (label,)
        return self.seen(plan).largest_slice([plan.model.label_index(one) for one in labels])
