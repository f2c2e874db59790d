"""The columns of a cohort's tables: what they are called, their units, which end is better, and what they mean.

The tables of docs/file_formats.md, `columns.csv` and the metadata of parquet files are made of these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

from napari_segxai.core.column import Column, titled
from napari_segxai.io.tables import columns_of, kind_of
from napari_segxai.metrics.registry import known_metric

_ABOUT = (
    Column("case", "Case", meaning="its id"),
    Column("group", "Group", meaning="to which part of the cohort it belongs; empty where nothing says it"),
    Column("subject", "Subject", meaning="whose image it is: cases of one subject are not independent"),
)
_LABEL = Column("label", "Label", meaning="name of the label")
_SLICE = Column(
    "slice",
    "Slice",
    meaning="of a volume that a 2D model sees slice by slice: the one that was looked at, in which the labels together are "
    "largest, as napari counts it",
)
_ENDS = (
    Column("warnings", "Warnings", meaning="sentences, also why a metric is empty"),
    Column("error", "Error", meaning="why it failed; empty where it did not"),
)

COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "objects": (
        *_ABOUT,
        _LABEL,
        Column("size_px", "Size of the object", "pixels", meaning="size of the predicted object"),
        Column("area_UNIT2", "Area", "UNIT²", meaning="its area, of 2D images"),
        Column("volume_UNIT3", "Volume", "UNIT³", meaning="its volume, of 3D images"),
        Column("confidence", "Mean confidence", "", "higher", "mean probability of the label where it is drawn, in [0, 1], on the model grid; empty where nothing is drawn"),
        Column("entropy_bits", "Mean entropy", "bits", "lower", "mean entropy of the probabilities there, of all labels, or of the label against the rest where labels may overlap"),
        Column("members_dice", "Agreement of the members", "", "higher", "mean Dice of every two members of an ensemble, such as the folds of nnU-Net, where one of them at least draws the label, in [0, 1]; the column is there for such networks alone"),
        Column("touches_border", "Touches the border", meaning="whether the object reaches the border of the image"),
        Column("truth_px", "True size", "pixels", meaning="size of the true object; empty without a truth"),
        Column("truth_dice", "Dice with the truth", "", "higher", "Dice of prediction and truth, in [0, 1]; empty where both are empty, or there is no truth"),
        Column("truth_false_positives", "False positives", "components", "lower", "connected components that are predicted and not true; empty without a truth"),
        Column("truth_false_positive_largest_px", "Largest false positive", "pixels", "lower", "the size of the largest; 0 where there is none"),
        Column("truth_false_negatives", "False negatives", "components", "lower", "connected components that are true and not predicted; empty without a truth"),
        Column("truth_false_negative_largest_px", "Largest false negative", "pixels", "lower", "the size of the largest; 0 where there is none"),
        *_ENDS,
    ),
    "maps": (
        *_ABOUT,
        Column("slice", "Slice", meaning="of a volume that a 2D model sees slice by slice: the one of the metrics, in which the label is largest, as napari counts it; the map is of all slices"),
        _LABEL,
        Column("map", "Map", meaning="its name"),
        Column("method", "Method", meaning="which method made it"),
        Column("error_kind", "Kind of error", meaning="of maps of errors: false-positive or false-negative, whose component is asked about"),
        Column("component", "Component", meaning="which of these connected components, from 1, the largest first"),
        Column("component_pixels", "Pixels of the component", "pixels", meaning="its size; empty where there is no such component, and nothing was made"),
        Column("component_size_UNIT", "Size of the component", "UNIT", meaning="its area or volume"),
        Column("seconds", "Time", "s", "lower", "wall-clock time of the method"),
        Column("forward_passes", "Forward passes", "passes", "lower", "how often the network was run"),
        Column("backward_passes", "Backward passes", "passes", "lower", "how often gradients were computed"),
        Column("suffix_passes", "Passes from a layer on", "passes", "lower", "how often the network was run from a network layer on"),
        Column("empty", "Empty map", meaning="whether no value of the map is above 0"),
        Column("evidence_outside", "Evidence outside the object", meaning="share of the evidence, which is the positive part of the map, that lies outside the predicted object, in [0, 1]; empty for a map without evidence, or where the label is not drawn"),
        Column("evidence_distance_UNIT", "Distance of the evidence outside", "UNIT", meaning="median distance of that evidence from the object, from centre to centre of a pixel: half of it lies nearer; empty where none lies outside"),
        Column("evidence_reach_UNIT", "Reach of the evidence outside", "UNIT", meaning="distance within which 95 % of that evidence lies"),
        Column("evidence on LABEL", "Evidence on LABEL", meaning="a column for every label of the model: share of the evidence that lies where this label is predicted, in [0, 1]; together 1, unless labels overlap"),
        *_ENDS,
    ),
    "flow": (
        *_ABOUT,
        _SLICE,
        _LABEL,
        Column("layer", "Network layer", meaning="its name"),
        Column("type", "Type", meaning="class of the module"),
        Column("stage", "Stage", meaning="encoder, bottleneck, decoder, head, skip, side or unused"),
        Column("order", "Order", meaning="position in the order of execution, from 0"),
        Column("shape", "Shape", meaning="channels x cells of its output"),
        Column("maximum", "Maximum", "of the map", meaning="largest value of the map, in the unit of the method"),
        Column("minimum", "Minimum", "of the map", meaning="smallest value of the map"),
        Column("positive", "Positive sum", "of the map", meaning="sum of its positive values"),
        Column("negative", "Negative sum", "of the map", meaning="sum of its negative values"),
        Column("gradient_norm", "Mean absolute gradient", meaning="mean absolute gradient"),
        Column("activation_norm", "Mean absolute activation", meaning="mean absolute activation"),
        Column("energy_inside", "Energy inside the prediction", "", "higher", "share of the positive sum inside the prediction, in [0, 1]; empty for a map without positive values"),
        Column("dice", "Dice at half the maximum", "", "higher", "Dice of the map at half its maximum with the prediction, in [0, 1]"),
        Column("dice_truth", "Dice at half the maximum with the truth", "", "higher", "the same with the truth; empty without one"),
        Column("ability", "Segmentation ability", "", "higher", "Dice with the prediction of the layer's features split by their nearer prototype, in [0, 1]"),
        Column("lost", "Dice lost, mean ablation", meaning="Dice lost by mean ablation of the layer's output; empty without a causal check"),
        Column("lost_skip", "Dice lost, mean ablation of the skip", meaning="the same of its skip connection alone"),
        Column("lost_zero", "Dice lost, zero ablation", meaning="the same by zero ablation"),
        Column("lost_skip_zero", "Dice lost, zero ablation of the skip", meaning="the same of its skip connection alone"),
        Column("lost_at_most", "Dice lost at most", meaning="Dice lost where the label is drawn everywhere: the control of what is lost"),
        Column("relevance", "Share of the score", meaning="share of the score that comes through the layer as relevance; empty without routes"),
        Column("relevance_skip", "Share of the score, skip", meaning="the same across its skip connection alone"),
        Column("ablation", "Ablation", meaning="which ablations were made"),
        Column("advice", "Advice", meaning="what to keep in mind when looking at this map"),
        *_ENDS,
    ),
    "channels": (
        *_ABOUT,
        _SLICE,
        _LABEL,
        Column("how", "Way", meaning="how the channel was examined: `permutation` (its pixels mixed), `mean` (filled with its mean), `between` (taken from other cases of other subjects, whose model grid is the same), `shapley` (what all channels give together, shared out exactly; those that are not there are filled with their mean; 6 channels at most), `ability` (what it tells alone), `relevance` (which share of the score comes through a channel of a network layer)"),
        Column("channel", "Channel", meaning="its name; of `relevance` its number in the network layer, from 0"),
        Column("layer", "Network layer", meaning="of `relevance`: the network layer whose channels are meant; the column is there where this way was asked for"),
        Column("dice_drop", "Dice lost", meaning="what the object loses of its Dice with the prediction of the whole image: 1 at most, below 0 where it gains; of `shapley` the channel's part of what is lost without all of them; empty of `ability`"),
        Column("dice_std", "Deviation of the Dice lost", meaning="standard deviation over permutations, or over the other cases; empty for one"),
        Column("iou_drop", "IoU lost", meaning="the same of the IoU"),
        Column("iou_std", "Deviation of the IoU lost", meaning="its standard deviation"),
        Column("probability_drop", "Probability lost", meaning="the same of the mean probability over the object"),
        Column("probability_std", "Deviation of the probability lost", meaning="its standard deviation"),
        Column("truth_dice_drop", "Dice with the truth lost", meaning="the same of the Dice with the truth; empty without a truth"),
        Column("truth_dice_std", "Deviation of the Dice with the truth lost", meaning="its standard deviation"),
        Column("ability", "Segmentation ability", "", "higher", "Dice, in [0, 1], of the prediction with the pixels that are nearer to the mean of the channel inside the prediction than to its mean outside; empty but of `ability`"),
        Column("truth_ability", "Segmentation ability for the truth", "", "higher", "Dice of these pixels with the truth"),
        Column("relevance", "Share of the score", meaning="share of the score that comes through the channel, as relevance; below 0 where it speaks against the label; empty but of `relevance`"),
        *_ENDS,
    ),
}  # fmt: skip
"""By table: what it can hold, but for numbers of methods and metrics."""

_OF_METHODS = {
    one.name: one
    for one in (
        Column("n_dilations", "Dilations"),
        Column("dice_explained", "Dice explained", "", "higher"),
        Column("ratio_sufficient", "Ratio of the sufficient region", "", "lower"),
        Column("ratio_mask", "Perturbation ratio, on the mask", "", "lower"),
        Column("ratio_image", "Perturbation ratio, on the image", "", "lower"),
    )
}
_CHANCE = {
    "above chance": "whether the map is better than the 95th percentile of what random maps of the same area reach",
    "chance": "mean of what random maps of the same area reach",
    "chance 95%": "95th percentile of what random maps of the same area reach",
}
_OF_METHOD = "a number that the method tells: see docs/methods.md"
_MEASURE = re.compile(r"(area|volume|evidence_distance|evidence_reach)_(.+?)([23]?)")
_ON = "evidence on "


@cache
def describe(name: str, table: str = "") -> Column:
    """Describe a column by its name: of a table, of a method, or of a metric, also with parameters ("ips:binarize=0.2").

    Parameters
    ----------
    name
        As the table has it.
    table
        Which table: "objects", "maps", "flow" or "channels"; by default one of the first two.
    """
    own = {column.name: column for column in COLUMNS.get(table, (*COLUMNS["objects"], *COLUMNS["maps"]))}
    if name in own:
        return own[name]
    if (size := _MEASURE.fullmatch(name)) and (general := own.get(f"{size[1]}_UNIT{size[3]}")):
        return replace(general, name=name, unit=size[2] + {"2": "²", "3": "³", "": ""}[size[3]])
    if name.startswith(_ON) and (general := own.get(f"{_ON}LABEL")):
        label = name.removeprefix(_ON)
        said = "share of the evidence that lies where this label is predicted, in [0, 1]"
        return replace(general, name=name, title=f"Evidence on {label}", meaning=said)
    if name in _OF_METHODS:
        return replace(_OF_METHODS[name], meaning=_OF_METHOD)
    for end, said in _CHANCE.items():
        if name.endswith(f" {end}"):
            one = describe(name.removesuffix(f" {end}"), table)
            whether = end == "above chance"
            return Column(name, f"{one.title}, {end}", "" if whether else one.unit, None, said)
    metric, _, given = name.partition(":")
    found = known_metric(metric)
    if found is None:
        return titled(name, _OF_METHOD)
    title = f"{found.title}, {given.replace('=', ' ').replace(':', ', ')}" if given else found.title
    return Column(name, title, found.unit, found.better, found.summary)


def described(
    table: str, rows: Iterable[Mapping[str, Any]], describes: Callable[[str], Column] | None = None
) -> list[dict[str, Any]]:
    """Return a row of `columns.csv` for every column of a table as it is: type, unit, better and meaning.

    Parameters
    ----------
    describes
        What describes them; `describe`, as columns of a cohort, by default.
    """
    held, of = list(rows), describes or partial(describe, table=table)
    out = []
    for name in columns_of(held):
        column, kind = of(name), kind_of(row.get(name) for row in held)
        about = {"unit": column.unit, "better": column.better or "", "meaning": column.meaning}
        out.append({"table": table, "column": name, "type": kind, **about})
    return out


def page_of(table: str) -> str:
    """Return the table of docs/file_formats.md that describes a table."""
    lines = [f"| column of `{table}.csv` | unit | better | meaning |", "|---|---|---|---|"]
    lines += [f"| `{one.name}` | {one.unit} | {one.better or ''} | {one.meaning} |" for one in COLUMNS[table]]
    if table == "maps":
        lines.append(
            "| further columns | | | numbers of the method (docs/methods.md; not its parameters, which are in the record), and a column per metric by its "
            "name (docs/metrics.md), with its parameters where they were given (`dice-explained:binarize=0.05`), with its unit and which end is better there; METRIC `chance`, METRIC `chance 95%` and METRIC `above chance` as in `table.csv` of a comparison |"
        )
    return "\n".join(lines) + "\n"
