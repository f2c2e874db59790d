"""Why a trend is not seen, where somebody looked into it; by trend and data set ("" for any).

Words in braces are means over the data set's cases, measured by diagnostics.py, so that no number is written here.
"""

from __future__ import annotations

_WEAK_LAMBDA = (
    "lambda is divided by the number of pixels, as the paper writes it, and then weighs little beside the Dice term as long as "
    "it is 0.1 or less: what Dice needs stays. It acts where it is larger: on these images lambda 1 gives a ratio of {ratio_1} "
    "and a Dice of {dice_1} (random maps of that area up to {chance_1}), lambda 10 gives {ratio_10} and {dice_10} ({chance_10}). The paper does not say how strong its total variation "
    "is, which works in the same direction"
)

_FULL = (
    "the labels fill {object} of a block on average, which leaves no room for an order of magnitude. The mean is mostly that of the "
    "smallest label, the fluid: to find it, the network needs nearly all of the block (that is the paper's context on medical "
    "images)."
)
_BACKWARD = (
    "RISE ran with fewer masks than the paper's 2000 (see the settings), and on a CPU a backward pass through the 3D network "
    "takes many times as long as a forward pass (seconds per mask against seconds per iteration, in the table)."
)
_ONE_SIGN = (
    "the bottleneck of such a block has three cells per side, and the maps of the gradient have one sign there: positive "
    "everywhere for the fluid, so that they keep nearly everything, and nowhere for grey and white matter, so that they are empty."
)
_NOISE = (
    "a normalisation that takes away the mean follows this layer, so that gradients cancel when they are pooled: the highest value "
    "of Seg-Grad-CAM is {pooled} of that of Seg-HiRes-Grad-CAM. Its map is rounding noise, and few cells of it are positive."
)
_AIR = (
    "the map of Seg-Grad-CAM is rounding noise here (its highest value is {pooled} of that of Seg-HiRes-Grad-CAM, because a "
    "normalisation follows this layer), and lies in the air beside the head, so that it keeps next to nothing of the image. The Dice "
    "that it explains all the same is that of what this network draws in an empty image: it finds something even in a black one."
)
_WIDE = (
    "two boxes overlap more readily than two masks: a map's box takes in what lies between its parts, and so does the object's. "
    "Recall is higher for boxes as well."
)

_CHANCE = (
    "at one threshold or more, random maps of the same area explain as much or more: for a map of that size, the number says little of "
    "where it lies."
)

REASONS: dict[tuple[str, str], str] = {
    ("hasany-2026-time-factor", ""): (
        "RISE is faster here than where the paper timed it: masks go through the network in batches, where an image costs less "
        "than one alone, and in half the digits where that keeps their ranking. MiSuRe's steps depend on one another and run "
        "one by one, each forward and backward."
    ),
    # random maps
    **{(f"hasany-2026-chance-{name}", ""): _CHANCE for name in ("sgc", "rise", "msr")},
    **{(f"hasany-2025-chance-{name}", ""): _CHANCE for name in ("xres", "eigen", "ablation")},
    ("hasany-2026-paper-sgc", "triangle"): (
        "a map of the paper's ratio keeps so much of the canvas that it meets the three items by chance often enough. The paper's "
        "network and its maps are others; what this doubts is the number as a measure of where they lie."
    ),
    # MiSuRe, table 1
    ("hasany-2026-msr-ratio-fair", "triangle"): (
        "the order of magnitude comes from counting. Most of a RISE mask on these images is black canvas, which is in the mask "
        "but not in the image; counted alike, RISE keeps little more than the items. Seg-Grad-CAM keeps even less of what is "
        "not black, because it lies beside the object, and explains next to nothing."
    ),
    ("hasany-2026-threshold-sgc", "triangle"): (
        "at either threshold there is hardly any Dice to lose: Seg-Grad-CAM at this bottleneck lies beside the items. Averaging "
        "the gradient over positions cancels it: the highest value of Seg-Grad-CAM is {pooled} of that of Seg-HiRes-Grad-CAM, "
        "which multiplies before it sums, and the sign of what remains changes from image to image ({positive} of the cells "
        "are positive on average)."
    ),
    ("hasany-2026-rise-best", "photograph"): (
        "RISE points at the head, without which this network finds no person (see the figure), and thresholds cut off suit and "
        "helmet. MSR begins with all of the person, which needs no dilation here."
    ),
    ("hasany-2026-sgc-worst", "photograph"): (
        "the map of this bottleneck lies mostly on the person (see the table of blocks), who fills more than half of the image, while "
        "a threshold takes suit and helmet from RISE."
    ),
    ("hasany-2026-msr-ratio", "photograph"): (
        "RISE at 0.4 keeps the head and little more, and pays with Dice. MSR keeps a Dice near 1 and prunes little: see the sweeps "
        "for what lambda does to that."
    ),
    ("hasany-2026-msr-ratio-fair", "photograph"): (
        "as above: RISE at 0.4 keeps the head and little more, and pays with Dice."
    ),
    ("hasany-2026-rise-best", "tissue"): (
        "these blocks are tissue everywhere. RISE at 0.2 keeps nearly all of a block, and what little it hides costs Dice; MSR is "
        "optimised for Dice itself."
    ),
    ("hasany-2026-msr-ratio", "tissue"): _FULL,
    ("hasany-2026-msr-ratio-fair", "tissue"): _FULL,
    ("hasany-2026-time", "tissue"): _BACKWARD,
    ("hasany-2026-time", "head"): _BACKWARD,
    ("hasany-2026-rise-best", "head"): (
        "RISE at 0.2 and MSR are both near the ceiling: this network needs little more than the brain to find the brain."
    ),
    ("hasany-2026-msr-ratio", "head"): _AIR + " For MSR against RISE see the table.",
    ("hasany-2026-msr-ratio-fair", "head"): _AIR + " For MSR against RISE see the table.",
    ("hasany-2026-threshold-sgc", "head"): _AIR,
    ("hasany-2026-msr-below-one", "head"): (
        "nothing has to be added to the prediction's own pixels here (no dilation is needed): a brain differs from what surrounds "
        "it, unlike the organs of the paper, and is large."
    ),
    # MiSuRe, tables 2 to 6
    ("hasany-2026-lr-high-ratio", "triangle"): _WEAK_LAMBDA + ".",
    ("hasany-2026-lr-high-dice", "triangle"): _WEAK_LAMBDA + "; there the expense of Dice is seen too.",
    ("hasany-2026-mask-ratio", ""): (
        "the finest mask has the lowest ratio, as in the paper; the two coarser ones are nearly equal here."
    ),
    # A guided tour
    ("hasany-2025-xres-dice", "triangle"): (
        "neither keeps the items, so that the two differ by nothing that counts: pooled gradients cancel at this bottleneck (the "
        "highest value of Seg-Grad-CAM is {pooled} of that without pooling), in windows of two by two cells too."
    ),
    ("hasany-2025-eigen-worst", "triangle"): (
        "a principal component has no sign of its own. Here it is turned to agree with the label's probability; published code "
        "takes it as the decomposition returns it. Turned the other way, the same maps explain a mean Dice of {turned_dice} (random maps "
        "of that area: up to {turned_chance}) at a ratio of {turned_ratio}. As they are turned here they keep more of the canvas than any other, and with it the items."
    ),
    ("hasany-2025-ablation-best", "triangle"): (
        "at one threshold or both Seg-Eigen-CAM explains more, because of how its sign is chosen (see there): turned the other way its mean Dice is "
        "{turned_dice}, and Seg-Ablation-CAM leads."
    ),
    ("hasany-2025-rise-masks-dice", "triangle"): (
        "Dice is near its ceiling whatever the number of masks, as in the other paper's table for Triangle; what is left to see is "
        "the chance of a few images."
    ),
    ("hasany-2025-eigen-worst", "photograph"): (
        "the person is what dominates this network's features, which know no other label, so that their first component is the "
        "person. Nor is Dice explained much of a test here: everything but the person explains a Dice of {rest_dice} (random maps of that area: up to {rest_chance}), since a black "
        "silhouette is enough for this network."
    ),
    ("hasany-2025-xres-dice", "tissue"): _ONE_SIGN,
    ("hasany-2025-eigen-worst", "tissue"): _ONE_SIGN + " Seg-Eigen-CAM needs no gradient and is never empty.",
    ("hasany-2025-ablation-best", "tissue"): _ONE_SIGN
    + " Seg-Eigen-CAM needs no gradient and is never empty.",
    ("hasany-2025-xres-ratio", "head"): _NOISE,
    ("hasany-2025-eigen-worst", "head"): _NOISE + " Its Dice is the lowest.",
    ("hasany-2025-rise-masks-ratio", "tissue"): (
        "RISE keeps nearly all of a block at 0.2, whatever the number of masks: the labels fill {object} of it on average, and the "
        "network reacts to whatever is hidden anywhere."
    ),
    ("hasany-2025-rise-masks-dice", "tissue"): (
        "it keeps no less with more masks (see the ratio), so that there is no reason for Dice to fall."
    ),
    ("hasany-2025-xres-ratio", "photograph"): (
        "one image decides here, and the two maps are alike: the ratio is lower at one threshold and higher at the other."
    ),
    ("hasany-2025-rise-concentrated", "photograph"): (
        "the map does get more concentrated (see the figure, and the falling ratios), but on the head, not on all of the person: "
        "the rest of the person becomes as dark as the background."
    ),
    # Seg-HiRes-Grad CAM
    ("rheude-2024-inside", "photograph"): (
        "one image with one large person, who fills {object} of it: there is little room beside the object, and both maps lie "
        "mostly on it."
    ),
    ("rheude-2024-layers-inside", "photograph"): "as above: one large object, on which both maps mostly lie.",
    ("rheude-2024-emergence", ""): (
        "at the end of the decoder, what lies above half the maximum lies on the object, but much of the object stays below it: "
        "peaks count against a map in this Dice. The block before has fewer of them. Both are nearer to the prediction than all "
        "of the encoder."
    ),
    # Foreground metrics
    ("aabid-sicre-le", "triangle"): (
        "the object has three parts. Its box spans the square between them, which is easy to hit; its mask is three small items, of "
        "which the largest component of a map covers one at best. The paper's objects have one part each."
    ),
    ("aabid-sicre-le-recall", "triangle"): "as above: three parts in one box.",
    ("aabid-sicre-f1", "triangle"): "as above: three parts in one box.",
    ("aabid-sicre-le", ""): _WIDE,
    ("aabid-sicre-le-recall", ""): _WIDE,
    ("aabid-sicre-f1", ""): _WIDE,
}
