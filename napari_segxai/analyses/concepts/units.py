"""Looking at one unit of a survey: the cases in which it is strongest, and where."""

from __future__ import annotations

from dataclasses import replace

from napari_segxai.analyses.concepts.plan import SurveyPlan
from napari_segxai.analyses.concepts.result import SurveyMap
from napari_segxai.analyses.concepts.run import map_of, question_of
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Passes, Steps, relay
from napari_segxai.engine.case_layers import units_of
from napari_segxai.engine.cases import CaseMap, CaseView
from napari_segxai.engine.execution.modes import in_usual_modes
from napari_segxai.models.inference.memory import guarded

MOST = 8
"""Cases that are kept."""


@in_usual_modes
def unit_steps(plan: SurveyPlan, layer: str, unit: int, *, most: int = MOST) -> Steps[tuple[SurveyMap, ...]]:
    """Look for the cases in which a unit is strongest: a forward pass for every case.

    Parameters
    ----------
    plan
        Of the survey: which network, and which cases.
    layer, unit
        A network layer, and the channel of it.
    most
        How many cases are kept.

    Returns
    -------
    tuple of SurveyMap
        What the unit says, the strongest case first; ``step.partial()`` gives those of the cases so far.

    Raises
    ------
    UserError
        If there is no such unit.
    """
    found = plan.model.find_layer(layer)
    if not 0 <= unit < found.shape[0]:
        raise UserError(f"network layer {layer} has no unit {unit}; it has {found.shape[0]}, counted from 0.")
    kept: list[tuple[float, CaseMap]] = []

    def visit(view: CaseView) -> None:
        own = units_of(view, {layer: [unit]})[layer, unit]
        name, of = f"unit {unit} of {layer}", {"layer": layer, "unit": unit}
        kept.append((float(own.max()), CaseMap(view.id, name, own, view.placement, of)))
        kept.sort(key=lambda one: -one[0])  # stable: of equals the first
        del kept[most:]

    def so_far() -> tuple[SurveyMap, ...]:
        return tuple(map_of(one, plan) for _, one in kept)

    with plan.model.in_use(plan.device), guarded(plan.device):
        cases = question_of(plan, Passes(len(plan.cases)))
        note = f"looking for unit {unit} of {layer}"
        yield from relay(cases.each(visit, note=note), lambda step: replace(step, partial=so_far))
    return so_far()
