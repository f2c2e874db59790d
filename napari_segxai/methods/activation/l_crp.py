"""Concept relevance propagation (L-CRP): which channels of a network layer carry the score, and where each of them looks.

    R_k = sum over places of A^k G^k        relevance of channel k at the layer,  G as in lrp
    S_k = the relevance of the input when at the layer G is kept in channel k alone

Achtibat et al., Nature Machine Intelligence 2023; for segmentation Dreyer, Achtibat, Wiegand, Samek, Lapuschkin, CVPR Workshops 2023.
The rules are those of lrp. The main map is what passes through the layer as a whole; a map for each of the strongest channels
lies beside it, and the table `channels` has every channel's relevance and share of the score. The table
`strongest` says what share of each of these maps lies outside the object: a concept that is seen around the object, not in it, is
context.

With a folder of `references`, crops of its images say what the strongest channels answer to: of each channel the 12 images in which it carries the largest share of the
score (gallery `relevance`), each above the relevance that reaches it through this channel alone, and the 12 in which it is most active (gallery `activation`), each around the strongest place. The two differ where a channel is active
without deciding anything. The label is asked about as in the image itself, where it is drawn; images without it give no crop.

Cost: 1 forward, 1 backward, and 1 + `channels` backward passes from the layer on, each dearer than a plain one; 1 forward and 1 backward for every image of
the folder, which is passed over once; and for those of which crops by relevance are kept the same once more, and 1 backward pass for every crop.

Through windows, relevances of all windows add up, and activations of overlapping ones are averaged; the windows are gone through twice.

Without a `layer`, the one with the greatest share of the relevance before the last stage of the network is taken. In a U-Net that
is rarely the bottleneck, which often carries less than a thousandth: relevance takes the skip connections. So the conditional
maps of a layer add up to what passes through that layer (`share_of_layer`), not to the whole map of lrp.

When not to believe it: a channel is not a concept because it has a number; look at several images on which it is strong.
Channels of opposite sign cancel, so that shares can exceed 1 where `positive` and `negative` are both large. Of a layer with a small
share the maps explain little of the score. What lrp's page says of biases, gates and rules holds here, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.core.options import FolderName, LayerName, option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.relevance_sums import RelevanceSums
from napari_segxai.engine.question import Question
from napari_segxai.engine.relevance.weighted import Rule, Rules
from napari_segxai.methods.activation.reference_crops import MOST, References
from napari_segxai.methods.registry import Size, explainer

if TYPE_CHECKING:
    from napari_segxai.models.segmentation import SegmentationModel


@dataclass(frozen=True)
class Options:
    """Parameters of l-crp."""

    layer: LayerName | None = option(
        None, help="network layer whose channels are asked about; by default that of the greatest share"
    )
    channels: int = option(5, ge=1, le=64, help="how many of the strongest channels get a map of their own")
    rule: Rule = option("composite", help="how layers with weights share relevance out among their inputs")
    epsilon: float = option(
        1e-3,
        ge=0,
        help="of the rule epsilon: how much of small outputs is damped, as a share of the mean absolute output of each layer",
        advanced=True,
    )
    references: FolderName = option(
        "", help="folder of images of which crops show what the strongest channels answer to"
    )


def _passes(options: Options, size: Size) -> Passes:
    again = min(size.references, MOST * options.channels)
    crops = min(size.references, MOST) * options.channels
    images = 1 + size.references + again
    return Passes(images + size.looks, images, 1 + options.channels + crops)


@explainer(
    "l-crp",
    title="Concept relevance propagation",
    question="layer",
    needs=("network layers", "gradients"),
    summary="which channels of a network layer carry the score, and where in the image each of them looks",
    unit="part of the {score}",
    source="Achtibat et al. 2023; Dreyer et al. 2023",
    cites=("achtibat2023", "dreyer2023"),
    options=Options,
    passes=_passes,
)
def l_crp(question: Question, options: Options) -> Steps[Finding]:
    """Find the strongest channels of a layer, and carry relevance back through each of them alone."""
    model, rules = question.model, Rules(options.rule, options.epsilon)
    names = [model.find_layer(options.layer).name] if options.layer else candidates(model)
    sums = RelevanceSums(question, rules, names)
    yield question.step("forward pass")
    whole = yield from sums.of(question)
    yield question.step("relevance of the layers")
    shares = {name: float(found.sum()) for name, found in whole.channels.items()}
    name = max(names, key=lambda one: abs(shares[one]))
    strengths = whole.channels[name].float()
    order = strengths.abs().argsort(descending=True, stable=True).tolist()
    top = [k for k in order[: options.channels] if float(strengths[k])]
    inside = question.pixels if question.is_missed else question.drawn_object()
    every = range(len(strengths))
    through, *each = yield from sums.through(question, name, [every, *([k] for k in top)])
    maps = {f"channel_{k}": one.sum(1)[0] for k, one in zip(top, each, strict=True)}
    outside = {k: share_outside(maps[f"channel_{k}"], inside) for k in top}
    del sums  # and its graph
    signs = {k: 1 if float(strengths[k]) > 0 else -1 for k in top}
    crops = References(question, rules, name, signs)
    if question.references and top:
        yield from crops.look()
    total = whole.balance
    table = {
        "channel": [float(k) for k in order],
        "relevance": [float(strengths[k]) for k in order],
        "share": [total.share(float(strengths[k])) for k in order],
    }
    seen = [k for k in top if outside[k] == outside[k]]  # what rests on biases alone is outside of nothing
    strongest = {
        "channel": [float(k) for k in seen],
        "share": [total.share(float(strengths[k])) for k in seen],
        "outside": [outside[k] for k in seen],
    }
    numbers = {
        "layer": name,
        "share_of_layer": total.share(shares[name]),
        "positive": total.share(float(strengths.clamp(min=0).sum())),
        "negative": total.share(float(strengths.clamp(max=0).sum())),
        **total.numbers(),
    }
    warnings = total.warnings()
    if abs(total.share(shares[name])) < LITTLE:
        advice = (
            "leave the layer out to take the one with the greatest share"
            if options.layer
            else "no network layer before the last stage has more, since the score goes past them or rests on biases"
        )
        warnings.append(
            f"only {total.share(shares[name]):.2%} of the relevance passes through {name}: its channels explain little of the score; {advice}."
        )
    return Finding(
        through.sum(1)[0],
        maps=maps,
        numbers=numbers,
        curves={"channels": table, "strongest": strongest},
        galleries=crops.galleries(),
        warnings=warnings,
        why_zero=f"none of the relevance that passes through {name} reaches the input.",
    )


LITTLE = 0.05
"""Share of the relevance below which a layer's channels explain little."""


def candidates(model: SegmentationModel) -> list[str]:
    """Return the network layers among which that of the greatest share is looked for.

    They are the main blocks of the network that come before its last stage and have more than one channel.

    Raises
    ------
    UserError
        If there are none.
    """
    blocks = [
        one for one in model.outline if one.stage not in ("head", "side", "unused") and one.shape[0] > 1
    ]
    last = next((one.order for one in model.example_layers if "last" in one.aliases), None)
    before = [one.name for one in blocks if last is None or one.order < last]
    found = [one for one in before if not _holds(one, model.roles.last)] or [one.name for one in blocks]
    if not found:
        raise UserError(f"{model.name} has no network layer before its last stage; choose one by name.")
    return found


def _holds(block: str, layer: str | None) -> bool:
    return layer is not None and (layer == block or layer.startswith(f"{block}."))


def share_outside(relevance: Tensor, inside: Tensor) -> float:
    """Return the share of the absolute relevance that lies outside the object; NaN where there is none.

    Parameters
    ----------
    relevance
        (*grid).
    inside
        Boolean (*grid): where the object is.
    """
    size = relevance.abs()
    total = float(size.sum())
    return float(size[~inside].sum()) / total if total else float("nan")
