"""How much a prediction depends on every channel of the image."""

from __future__ import annotations

import time

from napari_segxai.analyses.channels.plan import ChannelsPlan
from napari_segxai.analyses.channels.result import ChannelImportance
from napari_segxai.analyses.explain.run import ask_of_misses, question_of
from napari_segxai.analyses.provenance import facts_of_model, now, versions
from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Steps
from napari_segxai.engine.execution.modes import in_usual_modes
from napari_segxai.engine.finding import NotDrawn
from napari_segxai.io.image_record import image_as_dict
from napari_segxai.metrics.channel_spoiling import losses
from napari_segxai.models.inference.memory import guarded
from napari_segxai.models.preprocessing.spatial import plane_of


@in_usual_modes
def channels_steps(plan: ChannelsPlan) -> Steps[ChannelImportance]:
    """Run a plan; see `channel_importance_steps`."""
    start = time.perf_counter()
    asked, model = plan.plan, plan.plan.model
    label = model.labels[model.label_index(asked.target.label)]
    with model.in_use(asked.device), guarded(asked.device):
        question = question_of(asked, model.prepare(asked.image, asked.slices[0]))
        question.planned = plan.passes
        try:
            rows = yield from losses(question, how=plan.how, repeats=plan.repeats, seed=asked.seed)
        except NotDrawn as reason:
            raise UserError(
                f"{reason.what}, so no channel can matter to it{ask_of_misses(question)}."
            ) from None
    warnings = [*question.warnings]
    told = {**asked.target.as_dict(), "label": label}
    if len(rows) == 1:
        warnings.append(
            f"{model.name} has one channel, so there is no other to compare with; the number says what the prediction "
            f"loses when that one is spoiled."
        )
    seconds = time.perf_counter() - start
    facts = {
        "target": {name: value for name, value in told.items() if name not in ("score", "reduction")},
        "model": facts_of_model(model),
        "image": image_as_dict(asked.image),
        "device": str(asked.device),
        "slice": asked.slice,
        "axis": plane_of(model.card, asked.image),
        "created": now(),
        "versions": versions(),
    }
    return ChannelImportance(
        label, plan.how, plan.repeats, asked.seed, rows, question.passes, seconds, tuple(warnings), facts
    )
