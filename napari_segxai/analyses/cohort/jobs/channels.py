"""The importance of the channels of one case: all ways and all labels in shared passes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from napari_segxai.analyses.cohort.jobs.inputs import Inputs
from napari_segxai.analyses.cohort.jobs.relevances import relevance_rows
from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.run import question_of
from napari_segxai.analyses.inputs import as_image
from napari_segxai.core.image import Image
from napari_segxai.core.prediction import where
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.execution.modes import in_usual_modes
from napari_segxai.engine.finding import NotDrawn
from napari_segxai.engine.others import inputs_of
from napari_segxai.engine.question import Question
from napari_segxai.io.cases.case import Case
from napari_segxai.metrics.abilities import channel_abilities
from napari_segxai.metrics.channel_spoiling import SCORES, spoil
from napari_segxai.metrics.perturbed_copies import Reader
from napari_segxai.models.ground_truth import ignored_by, truth_labels
from napari_segxai.models.inference.memory import guarded

if TYPE_CHECKING:
    from napari_segxai.analyses.cohort.plan import CohortPlan

NO_OTHER = "no other case that was looked at lies on the same model grid, so that nothing was taken from another image"


@in_usual_modes
def channel_rows(plan: CohortPlan, inputs: Inputs) -> Steps[list[dict[str, Any]]]:
    """Examine the channels of a case in every way that the plan names; see docs/file_formats.md for the columns.

    Returns
    -------
    list of dict
        A row per label, way and channel, of the image or (`relevance`) of a network layer. A label that is not drawn has rows without numbers.
    """
    asked, model, index = plan.channels or {}, plan.model, inputs.slice(plan)
    ways, names = asked["how"], model.card.channels
    about = {} if index is None else {"slice": index}
    plans = [
        ExplanationPlan.make(
            model, inputs.image, label, "vanilla-gradient", seed=plan.seed, device=plan.device, slice=index
        )
        for label in plan.labels
    ]
    image = plans[0].image
    positions = [model.label_index(label) for label in plan.labels]
    truth, without = inputs.usable_truth(plan)
    true = None if truth is None else truth_labels(truth, image, model, positions)[0]
    ignored = None if truth is None else ignored_by(truth, image, model)
    with model.in_use(plan.device), guarded(plan.device):
        prepared = model.prepare(image, index)
        questions = [question_of(one, prepared) for one in plans]
        others = _others(plan, inputs, questions[0]) if "between" in ways else []
        copies = [way for way in ways if way not in ("ability", "relevance")]
        own_ways = [way for way in ways if way == "ability"]
        readers, rows = [], {}
        for label, k, question in zip(plan.labels, positions, questions, strict=True):
            question.executor.passes = questions[0].passes  # all count together
            question.planned = passes_of(plan, len(others))
            question.remember_logits(questions[0].logits)
            own = None if true is None else question.from_image(where(true, k, overlapping=model.overlapping))
            own = own if own is not None and bool(own.any()) else None
            try:
                readers.append(
                    Reader(question, own, None if ignored is None else question.from_image(ignored))
                )
            except NotDrawn as reason:
                nothing = {"warnings": f"{reason.what}, so no channel can matter to it."}
                rows[label] = [
                    {"how": way, "channel": name, **nothing} for way in (*copies, *own_ways) for name in names
                ]
        if readers and copies:
            found = yield from spoil(readers, copies, repeats=asked["repeats"], seed=plan.seed, others=others)
        else:
            found = [[] for _ in readers]
        for reader, some in zip(readers, found, strict=True):
            label = model.labels[reader.question.label]
            rows[label] = [*some, *(_abilities(reader) if own_ways else [])]
            warnings = [
                *reader.question.warnings,
                *([NO_OTHER] if "between" in ways and not others else []),
                *without,
            ]
            rows[label] = [{**row, "warnings": " | ".join(warnings)} for row in rows[label]]
        if "relevance" in ways:
            carried = yield from relevance_rows(
                dict(zip(plan.labels, questions, strict=True)), asked["layer"]
            )
            rows = {label: [*rows[label], *carried[label]] for label in plan.labels}
    scores = [f"{name}_{end}" for name in SCORES.values() for end in ("drop", "std")]
    blank = dict.fromkeys([*scores, "ability", "truth_ability"])
    if "relevance" in ways:
        blank = {"layer": None, **blank, "relevance": None}
    return [
        {**about, "label": label, "how": row["how"], "channel": row["channel"], **blank, **row}
        for label in plan.labels
        for row in rows[label]
    ]


def passes_of(plan: CohortPlan, others: int | None = None) -> Passes:
    """Return the passes that all ways of a case are expected to need.

    Parameters
    ----------
    others
        Cases whose channels take the place of its own; as many as are asked for by default.
    """
    asked = plan.channels or {"how": (), "repeats": 0}
    channels, repeats = len(plan.model.card.channels), asked["repeats"]
    each = {
        "permutation": channels * repeats,
        "mean": channels,
        "between": channels * (repeats if others is None else others),
        "shapley": 2**channels - 1,
    }
    found = Passes(1 + sum(each.get(way, 0) for way in asked["how"]))
    return found + Passes(1, len(plan.labels)) if "relevance" in asked["how"] else found


def _others(plan: CohortPlan, inputs: Inputs, question: Question) -> list[Tensor]:
    """Return what the network sees of other cases, of those that lie on the same grid."""
    reads = [partial(_image, case, plan) for case in plan.others(inputs.case)]
    return inputs_of(question, inputs.slice(plan), reads, (plan.channels or {})["repeats"])


def _image(case: Case, plan: CohortPlan) -> Image:
    return as_image(Inputs(case).image, plan.model)  # what is said of its files stands in its own row


def _abilities(reader: Reader) -> list[dict[str, Any]]:
    """Return how well every channel alone tells the object from the rest: see `unit_abilities`."""
    question = reader.question
    own, true = channel_abilities(question, reader.object, reader.truth, reader.ignored)
    rows: list[dict[str, Any]] = []
    for k, name in enumerate(question.model.card.channels):
        row: dict[str, Any] = {"how": "ability", "channel": name, "ability": float(own[k])}
        if true is not None:
            row["truth_ability"] = float(true[k])
        rows.append(row)
    return rows
