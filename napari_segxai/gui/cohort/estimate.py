"""What a run of a cohort will take, in a sentence."""

from __future__ import annotations

from napari_segxai.analyses.cohort.outlook import Outlook
from napari_segxai.analyses.cohort.plan import CohortPlan
from napari_segxai.core.errors import size
from napari_segxai.core.text_table import counted
from napari_segxai.gui.widgets.run_bar import estimate


def words_of(plan: CohortPlan, seen: Outlook) -> str:
    """Return a plan as a sentence: what there is, what is left, how long it takes, how much room."""
    cases = counted(seen.cases, "case")
    if seen.done == seen.jobs:
        return f"All {cases} are done." if seen.cases != 1 else "The case is done."
    words = [f"{cases}, {counted(len(plan.jobs), 'job')} each"]
    if seen.done:
        words.append(f"{seen.there} of {cases} {'is' if seen.there == 1 else 'are'} done; Run does the rest")
    if seen.passes is not None and seen.image is not None:
        words.append(estimate(plan.model, seen.image, seen.slice, seen.passes))
    if seen.bytes:
        words.append(f"needs at least {size(seen.bytes)} of disk ({size(seen.free)} free)")
    return " · ".join(words)
