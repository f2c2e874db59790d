"""Tables of metrics: several maps, one question, and all passes of the network in shared batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.arrays import ROUNDING, as_map, as_mask, is_even
from napari_segxai.core.errors import UserError
from napari_segxai.core.options import make_options
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import EmptyRegion, NotDrawn
from napari_segxai.engine.question import Question
from napari_segxai.metrics.chance_level import chance_copies, chance_of, chance_on_image, passes_of
from napari_segxai.metrics.evaluation import Evaluation, Options
from napari_segxai.metrics.functional.chance import Chance
from napari_segxai.metrics.functional.curve import Curve
from napari_segxai.metrics.functional.faithfulness import control_name, random_map
from napari_segxai.metrics.functional.noise import NoiseModel
from napari_segxai.metrics.functional.sufficiency import THRESHOLDS
from napari_segxai.metrics.perturbed_copies import Reader, look
from napari_segxai.metrics.registry import Metric, all_metrics, find_metric

Row = dict[str, Any]


def evaluate_steps(
    maps: Mapping[str, Any],
    question: Question,
    *,
    truth: Any | None = None,
    ignored: np.ndarray | None = None,
    metrics: Sequence[str] | None = None,
    noise_model: NoiseModel | None = None,
    controls: int = 0,
    **options: Any,
) -> Steps[list[Row]]:
    """Evaluate maps by metrics, one step at a time.

    Numbers about regions and masses are those of the image's own grid (of the slice, for a 2D model on a volume), with
    its spacing; what the network sees is brought to the model grid.

    Parameters
    ----------
    maps
        By name, each on the image grid, as `Explanation.map` is.
    question
        Its `planned` passes should come from `planned_passes`.
    truth
        Boolean, on the image grid: where the label really is.
    ignored
        Boolean, on the image grid: where nobody has labelled anything, which metrics that need the truth leave out.
    metrics
        Names; by default all for which everything is given.
    noise_model
        For ANA and SRM.
    controls
        Random orders to run through the metrics of family "faithfulness", as rows of "random order".
    **options
        See `evaluation.Options`.

    Returns
    -------
    list of dict
        A row for every map and metric: map, metric, title, unit, better, family, form, value (None where undefined),
        reason (why it is undefined, else ""), curve (share and score, for areas under curves, else None), and of Dice
        explained, PPS and pointing numbers what random maps reach (see `metrics.chance_level`), else None: chance (their mean),
        chance_high (their 95th percentile), above_chance (whether the value is higher) and chance_curve.

    Raises
    ------
    UserError
        For an unknown metric or option, or a map or truth that does not lie on the image grid.
    OutOfMemory
        If not even one copy fits.
    """
    values = make_options(Options, options, "evaluate")
    chosen = choose(metrics, truth=truth is not None, noise_model=noise_model is not None)
    shape = question.image.spatial_shape
    given = {name: _on_image(as_map(array), shape, f"the map {name!r}") for name, array in maps.items()}
    wanted = None if truth is None else _on_image(as_mask(truth), shape, "the truth")
    runs = any("network" in m.needs for m in chosen)
    reader, missing = reader_of(question) if runs else (None, "")
    evaluations = _evaluations(given, question, reader, wanted, noise_model, values, ignored)
    control = _controls(evaluations, controls)
    faithful = [m for m in chosen if m.family == "faithfulness"]
    todo = [(e, chosen) for e in evaluations] + [(e, faithful) for e in control]

    copies = []
    if reader is not None:
        for e, some in todo:
            yield question.step(f"changed copies: {e.name}")
            for series in {series for m in some for series in m.series}:
                made = e.copies(series)
                copies += [made] if made is not None else []
        for e in evaluations:
            copies += chance_copies(e, chosen)
    if copies:
        seen = yield from look(reader, copies)
        for e, _ in todo:
            e.seen.update(seen)
    chances = yield from chance_on_image(evaluations, chosen, lambda: question.step("chance level"))
    rows = []
    for e, some in todo:
        for m in some:  # some take seconds for a volume: it can be stopped before each
            yield question.step(f"{m.title}: {e.name}")
            rows.append(_with_chance(_row(e, m, missing), e, m, chances))
    return rows


def choose(metrics: Sequence[str] | None, *, truth: bool, noise_model: bool) -> list[Metric]:
    """Return the metrics by name; by default all for which everything is given.

    Raises
    ------
    UserError
        For a name that no metric has, or a name instead of a list.
    """
    if isinstance(metrics, str):
        raise UserError(f"metrics has to be a list of names, such as [{metrics!r}].")
    if metrics is not None:
        return [find_metric(name) for name in dict.fromkeys(metrics)]
    given = {"network"} | ({"truth"} if truth else set()) | ({"noise model"} if noise_model else set())
    return [m for m in all_metrics() if set(m.needs) <= given]


def planned_passes(metrics: Sequence[Metric], maps: int, controls: int = 0, **options: Any) -> Passes:
    """Return the forward passes that an evaluation takes, at most: empty maps and equal canvases take fewer."""
    values = make_options(Options, options, "evaluate")
    series = {name for m in metrics for name in m.series}
    ordered = [name for name in ("insertion", "deletion") if name in series]
    canvases = {getattr(values, f"{name}_canvas") for name in ordered}
    single = len(series) - 2 * len(ordered) + (len(THRESHOLDS) - 1) * ("thresholds" in series)
    each = len(ordered) * (values.steps - 1)
    chance = passes_of(metrics, values.chance)
    return Passes(1 + len(canvases) + maps * (single + each + chance) + controls * each)


def reader_of(question: Question) -> tuple[Reader | None, str]:
    """Return what reads the object, or why there is none."""
    try:
        return Reader(question), ""
    except NotDrawn as reason:
        return None, f"{reason.what}."


def object_on_image(question: Question) -> np.ndarray:
    """Return the object on the image's grid, turned as the network wants it: boolean.

    The logits are resampled and then compared, as for a prediction.
    """
    place, logits, label = question.prepared.placement, question.logits[0], question.label
    drawn = question.model.labeling.drawn_on_grid(logits, label, place)
    if question.target.region is None or not drawn.any():
        return drawn
    try:
        pixels = question.pixels
    except EmptyRegion:
        return np.zeros_like(drawn)
    return drawn & (place.from_grid(pixels.float(), linear=False) > 0.5)


# -- how -----------------------------------------------------------------------------------------------


def _on_image(array: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    if array.shape != tuple(shape):
        raise UserError(
            f"{what} has shape {array.shape}, but the image has {tuple(shape)}; give it on that grid."
        )
    return array


def _evaluations(
    maps: Mapping[str, np.ndarray],
    question: Question,
    reader: Reader | None,
    truth: np.ndarray | None,
    noise_model: NoiseModel | None,
    options: Options,
    ignored: np.ndarray | None = None,
) -> list[Evaluation]:
    place = question.prepared.placement
    spacing = tuple(question.image.spacing[k] for k in place.turn[0])[-len(question.grid) :]
    prediction, hide = object_on_image(question), cache(question.hide)

    def map_to_model(turned: np.ndarray) -> Tensor:
        tensor = place.to_grid(np.ascontiguousarray(turned[None], np.float32))
        if place.resampled_shape != place.seen_shape:
            # equal values come out of it equal up to rounding, which must not decide their order
            step = float(tensor.abs().max()) * ROUNDING or 1.0
            tensor = (tensor / step).round() * step
        return place.pad(tensor, tensor.amin().reshape((1,) * tensor.ndim))[0, 0].to(question.device)

    def mask_to_model(mask: np.ndarray) -> Tensor:
        return question.from_image(place.to_image(mask))

    def mask_from_model(mask: Tensor) -> np.ndarray:
        return place.from_grid(mask.float(), linear=False) > 0.5

    out = []
    for name, values in maps.items():
        turned = np.ascontiguousarray(place.turned(values))
        out.append(
            Evaluation(
                name=name,
                map=turned,
                prediction=prediction,
                truth=None if truth is None else np.ascontiguousarray(place.turned(truth)),
                spacing=spacing,
                options=options,
                question=question,
                reader=reader,
                map_to_model=map_to_model,
                mask_to_model=mask_to_model,
                mask_from_model=mask_from_model,
                hide=hide,
                noise_model=noise_model,
                ignored=None if ignored is None else np.ascontiguousarray(place.turned(ignored)),
                seen={},
            )
        )
    return out


def _controls(evaluations: Sequence[Evaluation], count: int) -> list[Evaluation]:
    """Return evaluations of random orders, on the model grid as the network sees it."""
    if not evaluations or not count:
        return []
    first = evaluations[0]
    question = first.question
    out = []
    for number in range(count):
        values = random_map(question.grid, question.seed, number)
        out.append(
            replace(
                first,
                name=control_name(number),
                map=values.numpy(),
                map_to_model=lambda values: torch.from_numpy(values).to(question.device),
                seen={},
            )
        )
    return out


def _row(e: Evaluation, metric: Metric, missing: str) -> Row:
    e = e.labelled if "truth" in metric.needs else e
    lack = _lack(e, metric, missing)
    value: Any = None if lack else metric.measure(e)
    curve = None
    if isinstance(value, Curve):
        curve = {"share": value.share.tolist(), "score": value.score.tolist()}
        value = value.area
    if value is not None and not np.isfinite(value):
        value, curve, lack = None, None, "the network returns values that are not finite for a changed copy."
    return {
        "map": e.name,
        "metric": metric.name,
        "title": metric.title,
        "unit": metric.unit,
        "better": metric.better,
        "family": metric.family,
        "form": metric.form,
        "value": value,
        "reason": lack or (_why(e, metric) if value is None else ""),
        "curve": curve,
    }


def _with_chance(row: Row, e: Evaluation, metric: Metric, known: Mapping[tuple[str, str], Chance]) -> Row:
    """Put what random maps reach beside a number."""
    chance = known.get((e.name, metric.name))
    if row["value"] is not None and metric.chance and metric.series:
        chance = chance_of(e, metric)
    if chance is None or row["value"] is None:
        return {**row, "chance": None, "chance_high": None, "above_chance": None, "chance_curve": None}
    return {
        **row,
        "chance": chance.mean,
        "chance_high": chance.high,
        "above_chance": chance.is_beaten(row["value"]),
        "chance_curve": chance.curve,
    }


def _lack(e: Evaluation, metric: Metric, missing: str) -> str:
    """Say what a metric would need and has not got."""
    if "truth" in metric.needs and e.truth is None:
        return "no truth was given."
    if "noise model" in metric.needs and e.noise_model is None:
        return "no noise model was given."
    return missing if "network" in metric.needs else ""


def _why(e: Evaluation, metric: Metric) -> str:
    """Say why a metric is undefined."""
    if "truth" in metric.needs and not e.truth.any():
        return "the truth is empty."
    if is_even(e.map):
        return f"the map is {e.map.flat[0]:g} everywhere."
    if not e.unit.any():
        return "the map has no positive value."
    if not e.prediction.any():
        return "the label is not predicted."
    return "it is not defined for this map."
