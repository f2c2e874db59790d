"""Asking once more what an explanation was asked: for checks, for *Run again* and for copied scripts."""

from __future__ import annotations

from napari_segxai.analyses.explain.plan import ExplanationPlan
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.target import Target
from napari_segxai.models.segmentation import SegmentationModel

NOT_AGAIN = {("u-noise", "weights"): ""}
"""Parameters of a method that a repetition must not take over: training would go on in the user's file, and change it."""


def plan_again(
    explanation: Explanation,
    model: SegmentationModel,
    target: Target | None = None,
    *,
    image: Image | None = None,
    device: str | None = None,
    slice: int | None = None,
) -> ExplanationPlan:
    """Return the plan by which an explanation came about.

    Parameters
    ----------
    model
        The model that was explained, with the same weights.
    target
        What was asked; by default what the record tells.
    image
        The image that was explained, where the explanation's own has no values; by default that.
    device
        Where it runs now; by default where it ran.
    slice
        The slice; by default that of the record.

    Raises
    ------
    UserError
        If the model is another one, or the plan does not hold any more.
    """
    check_same_model(explanation, model)
    record = explanation.record
    return ExplanationPlan.make(
        model,
        explanation.image if image is None else image,
        explanation.target if target is None else target,
        record.method,
        seed=record.seed,
        device=device or record.device,
        slice=record.slice if slice is None else slice,
        # Where it was not worth while with fewer digits, that need not be tried again.
        precision="float32" if record.engine.get("precision") == "float32" else "auto",
        **{name: NOT_AGAIN.get((record.method, name), value) for name, value in record.parameters.items()},
    )


def check_same_model(explanation: Explanation, model: SegmentationModel) -> None:
    """Refuse a model that is not the one that was explained."""
    record = explanation.record
    if model.sha256 != record.model["sha256"]:
        raise UserError(
            f"the explanation is of {record.model['name']} with other weights than {model.name} has now; give the "
            "model that was explained."
        )
    if record.model.get("thresholds") != model.card.named_thresholds:
        raise UserError(
            f"the explanation is of labels drawn above other thresholds than those of {model.name}; give the model "
            "that was explained."
        )
