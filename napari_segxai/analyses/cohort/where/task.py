"""What is to be done of a cohort, wherever that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_segxai.analyses.cohort.plan import CohortPlan, Job
from napari_segxai.analyses.cohort.where.cases import UNIT
from napari_segxai.io.cases.case import Case


@dataclass(frozen=True)
class Task:
    """A plan, the cases of this part, and where they are kept.

    Attributes
    ----------
    plan
        What is asked.
    jobs
        What is done for every case.
    cases
        The cases of this part, each with its folder.
    folder
        That of the cohort.
    so_far
        Collects what there is.
    check
        Raises `UserError` if the folder has gone.
    """

    plan: CohortPlan
    jobs: Sequence[Job]
    cases: Sequence[tuple[Case, Path]]
    folder: Path
    so_far: Callable[[], Any]
    check: Callable[[], None]

    @property
    def total(self) -> int:
        """What all of it counts in the progress."""
        return UNIT * len(self.cases) * len(self.jobs)
