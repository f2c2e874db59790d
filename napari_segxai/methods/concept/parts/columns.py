"""What the columns of the tables of methods for folders mean: units, which end is better, and which of them is whose control."""

from __future__ import annotations

from dataclasses import replace

from napari_segxai.core.column import Column
from napari_segxai.core.column import titled as column


def control(name: str, of: str, meaning: str, unit: str = "") -> Column:
    """Return a column that is the control of another one."""
    return replace(column(name, f"control of {of}: {meaning}", unit), control_of=of)


CASE = (
    column("case", "id of the case"),
    column("subject", "whose image it is: cases of one subject are not independent"),
)
LABEL = column("label", "name of the label")
LAYER = column("layer", "name of the network layer")
STAGE = column("stage", "what the layer is for: encoder, bottleneck, decoder, head, skip or side")
UNIT = column("unit", "number of a channel of the layer, from 0")
CONCEPT = column("concept", "name of the concept")

OVER_CASES = (
    column("low", "lower end of the 95 % interval, over subjects, of the mean before it"),
    column("high", "upper end of that interval"),
    column("n", "over which the mean is taken", "cases"),
    column("subjects", "of which these cases are", "subjects"),
)

PROBED = (
    column(
        "readable",
        "whether the concept can be read: accuracy_p is below .05, and accuracy above accuracy_place",
    ),
    column(
        "used",
        "whether the label hangs on it: readable, derivative_p below .05, and dice_lost above .01 and dice_lost_shuffled",
    ),
    column(
        "accuracy",
        "balanced accuracy of a linear probe on subjects from which it learnt nothing, in [0, 1]; .5 is chance",
        "",
        "higher",
    ),
    control("accuracy_shuffled", "accuracy", "the mean of shuffled concepts"),
    control("accuracy_place", "accuracy", "place and size of the regions alone"),
    column(
        "accuracy_p",
        "share of all concepts, shuffled ones and this, that are told as well, in [0, 1]",
        "",
        "lower",
    ),
    column(
        "dice_lost",
        "what the prediction loses of its Dice without the direction: 1 at most, below 0 where it gains; empty where it was not taken away",
    ),
    control(
        "dice_lost_shuffled",
        "dice_lost",
        "the most that is lost without one of 9 directions of shuffled concepts (of `ace`: by chance)",
    ),
    column(
        "derivative", "how much the label's score rises along the direction: mean over the cases", "logits"
    ),
    column(
        "derivative_p",
        "share of all concepts, shuffled ones and this, whose derivative is as large, in [0, 1]",
        "",
        "lower",
    ),
    column("tcav", "share of the cases in which the derivative is above 0, in [0, 1]"),
    control("tcav_shuffled", "tcav", "the mean of shuffled concepts"),
    column("tcav_shuffled_sd", "standard deviation of tcav over shuffled concepts"),
    column("cases", "in which the label is drawn and the concept is there", "cases"),
)

CAV = (
    CONCEPT,
    LAYER,
    LABEL,
    *PROBED,
    STAGE,
    column("examples", "regions of the concept", "regions"),
    column("others", "regions without it, against which it is told", "regions"),
)

ACE = (
    CONCEPT,
    LAYER,
    LABEL,
    *PROBED,
    CASE[0],
    column("on_label", "share of the pieces' area on which the label is predicted, in [0, 1]"),
    column("share", "share of the images' area that the pieces fill, in [0, 1]"),
    column("spread", "who have some of the pieces", "subjects"),
    column("pieces", "of this kind", "pieces"),
    column("axis_N", "index of the middle of the piece on the image grid, along this axis", "pixels"),
    column("size", "of the piece, on the model grid", "pixels"),
    column("far", "distance of the piece from the center of its kind, in standardized features", "", "lower"),
)

NETWORK_DISSECTION = (
    CONCEPT,
    LAYER,
    STAGE,
    UNIT,
    column("units", "of the layer, from which the best was chosen", "channels"),
    column(
        "iou",
        "IoU of the unit's highest activations with the concept, in [0, 1], on subjects on which it was not chosen (of every unit: on all)",
        "",
        "higher",
    ),
    column(
        "auc",
        "how often a cell of the concept has a higher activation than another, in [0, 1]; .5 is chance",
        "",
        "higher",
    ),
    column("ceiling", "the highest IoU that any unit could have with this threshold, in [0, 1]"),
    control("control_iou", "iou", "the best that masks reach that say nothing"),
    control("control_auc", "auc", "the best that masks reach that say nothing"),
    column("beyond_control", "whether IoU and AUC are both above their controls, and AUC above .5"),
    column(
        "score", "IoU (or AUC) by which the unit was chosen, on the other half of the subjects", "", "higher"
    ),
    column("threshold", "activation above which a cell counts as high", "activation"),
    column("share", "share of the cells that the concept fills, in [0, 1]"),
)

NMF_CONCEPTS = (
    *CASE,
    *OVER_CASES,
    column("concept", "number of the concept, from 1, by its share"),
    column("share", "share of the activations that it holds, in [0, 1]"),
    column(
        "importance",
        "total Sobol index: share of the variance of the score that this concept has a part in, alone or with others; mean over cases",
        "",
        "higher",
    ),
    column(
        "dice_lost",
        "what the prediction loses of its Dice without this concept alone: 1 at most, below 0 where it gains",
    ),
    control(
        "control_lost",
        "dice_lost",
        "the most that is lost when as much is taken in channels by chance",
    ),
    column("beyond_control", "whether more is lost than by chance"),
    column("on_label", "share of the concept that lies on the label as predicted, in [0, 1]"),
    control("label_share", "on_label", "the share of the cells that the label fills"),
    column(
        "agreement",
        "cosine with the most similar concept of one half of the subjects alone, in [0, 1]",
        "",
        "higher",
    ),
    column("channel", "number of a channel of the layer, from 0"),
    column("weight", "how much of the channel a unit of the concept holds, 0 or more", "activation"),
)

CONCEPT_GRAPH = (
    column("start", "the group of units that is left alone in its layer"),
    column("end", "the group or label that may hang on it"),
    column(
        "kept",
        "what is left of the end: adjusted mutual information of its map, of a label Dice; 1 is all",
        "",
        "higher",
    ),
    column("bypass", "the same with no unit of the start's layer left: what goes past that layer"),
    control("control", "kept", "as many other units of the layer, by chance"),
    column(
        "strength",
        "(kept - bypass) / (1 - bypass): 1 at most; empty where nearly all goes past the layer",
        "",
        "higher",
    ),
    column("edge", "whether strength is above the threshold, and kept above its control"),
    column("cases", "on which it was tried", "cases"),
    column("node", "the group of units"),
    LAYER,
    STAGE,
    column("count", "in the group", "units"),
    column("units", "their numbers, from 0"),
    column("label", "the label that the map of the group separates best"),
    column("ability", "how well: Dice, in [0, 1]", "", "higher"),
    control("ability_elsewhere", "ability", "for the same mask moved by half the image"),
)

NEAREST_EXAMPLES = (
    *CASE,
    column("object", "number of the object in its case, from 1, the largest first"),
    column("role", "prototype (stands for all), criticism (unlike the prototypes), or empty"),
    column(
        "size",
        "area or volume of the object, in the unit of the image (else pixels); in neighbours.csv the part of the squared distance that sizes make up",
    ),
    column("elongation", "spread along the longest axis over that along the shortest: 1 is round"),
    column(
        "truth_dice",
        "Dice of the prediction of its case with the truth, in [0, 1]; empty without a truth",
        "",
        "higher",
    ),
    column("nearest", "the object of another subject that is nearest"),
    column("nearest_distance", "its distance, in standard deviations of the folder"),
    column("farthest", "the object of another subject that is farthest"),
    column("farthest_distance", "its distance"),
    column("prototype", "the nearest prototype"),
    column("prototype_distance", "its distance"),
    column(
        "mostly_by",
        "which block of numbers makes up the most of that distance: features, size, shape or intensity",
    ),
    column("of", "the object that is asked about"),
    column("which", "nearest or farthest"),
    column("rank", "1 is the nearest (or farthest)"),
    column("distance", "from the object that is asked about, in standard deviations of the folder"),
    column("features", "part of the squared distance that means of network layers make up"),
    column("shape", "part of the squared distance that elongations make up"),
    column("intensity", "part of the squared distance that mean and spread of the image make up"),
)

ACTIVATION_MAXIMIZATION = (
    LAYER,
    UNIT,
    column(
        "made",
        "what the unit answers to the image that was made; empty where none was",
        "activation",
        "higher",
    ),
    column("best", "the highest answer in the folder", "activation"),
    column("case", "where that is"),
    column("mean", "mean answer over the folder", "activation"),
    column("deviation", "standard deviation of the answers over the folder", "activation"),
    control("random", "made", "the highest answer to noise of the same contrast", "activation"),
)

BOTTLENECK_MAP = (
    *CASE,
    column("axis_N", "place of the case on this axis: standardized features", ""),
    column("size", "drawn as the label, on the model grid", "cells"),
    column("iou", "IoU of the prediction with the truth, in [0, 1]; empty without a truth", "", "higher"),
    column("said_iou", "what a regression on the axes says of it, fitted on other subjects"),
    column(
        "features",
        "on what the regression was made; that on size alone and that of shuffled IoUs are the controls",
    ),
    column(
        "r2",
        "share of the variance of the IoU that is told, of subjects on which nothing was fitted: 1 at most, below 0 where the mean tells more",
        "",
        "higher",
    ),
)

EMERGENT_LANGUAGE = (
    *CASE,
    column("about", "a fact about the object"),
    column("place", "place in the sentence, from 1; or the whole sentence"),
    column(
        "bits",
        "mutual information of symbols and fact, of cases on which nothing was learnt",
        "bits",
        "higher",
    ),
    column("possible", "all there is to tell of the fact", "bits"),
    control("shuffled", "bits", "the mean of shuffled sentences", "bits"),
    column("beyond", "bits less shuffled", "bits", "higher"),
    column("beyond_control", "whether more is told than in all but 5 % of the shuffles"),
    column("learnt_on", "whether the language was learnt on this case"),
    column("sentence", "what the sender says of the object"),
    column("dice", "Dice of what the receiver draws with the prediction, in [0, 1]", "", "higher"),
    column("size", "area or volume of the object, in the unit of the image (else pixels)"),
    column(
        "elongation", "spread along the longest axis over that along the shortest of the object: 1 is round"
    ),
    column("brightness", "mean of the first channel over the object, as the network sees it"),
    column(
        "axis N", "where the middle of the object lies along this axis, as a share of the image, in [0, 1]"
    ),
    column("symbol", "a symbol"),
    column("n", "of which it is said at this place; the other columns are their means", "cases"),
)

SEGMENTATION_ABILITY = (
    LABEL,
    LAYER,
    column("what", "a network layer, or a channel of the image"),
    column("name", "its name"),
    STAGE,
    column(
        "ability",
        "Dice, in [0, 1], of the prediction with the cells that are nearer to the mean of the object than to that of the rest; mean over cases",
        "",
        "higher",
    ),
    *OVER_CASES,
    control("control", "ability", "for the object of another case"),
    column("truth_ability", "the same for the truth; empty without one", "", "higher"),
    column(
        "rank_correlation", "rank correlation of ability and the Dice of the case with its truth, in [-1, 1]"
    ),
    control("size_correlation", "rank_correlation", "that of the object's size and the Dice"),
    column("unit", "the unit of the layer that separates best alone, from 0"),
    column("unit_ability", "its ability; the best of many, so higher by chance as well", "", "higher"),
)

CHANNEL_IMPORTANCE = (
    *CASE,
    LABEL,
    *OVER_CASES,
    column("channel", "name of a channel of the image"),
    column(
        "dice_drop",
        "what the object loses of its Dice with the prediction of the whole image without the channel: 1 at most, below 0 where it gains; low and high are of this",
    ),
    column("iou_drop", "the same of the IoU"),
    column("probability_drop", "the same of the mean probability over the object"),
    column("truth_dice_drop", "the same of the Dice with the truth; empty without a truth"),
)
