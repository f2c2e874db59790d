"""Why a trend is not seen, where somebody looked into it; by trend and data set ("" for any).

Words in braces are means over the data set's cases, measured by diagnostics.py, so that no number is written here.
"""

from __future__ import annotations

REASONS: dict[tuple[str, str], str] = {
    ("s001-msr-ratio-fair", "triangle"): (
        "the order of magnitude comes from counting. Most of a RISE mask on these images is black canvas, which is in the mask "
        "but not in the image; counted alike, RISE keeps little more than the three items. Seg-Grad-CAM keeps even less of what "
        "is not black, because it lies beside the object, and explains next to nothing."
    ),
    ("s001-threshold-sgc", "triangle"): (
        "at either threshold there is hardly any Dice to lose: Seg-Grad-CAM at this bottleneck lies beside the items. Averaging "
        "the gradient over positions cancels it: the highest value of Seg-Grad-CAM is {pooled} of that of Seg-HiRes-Grad-CAM, "
        "which multiplies before it sums, and the sign of what remains changes from image to image ({positive} of the cells "
        "are positive on average)."
    ),
    ("s002-xres-dice", "triangle"): (
        "neither keeps the items, so that the two differ by nothing that counts: pooled gradients cancel at this bottleneck (its "
        "highest value is {pooled} of that without pooling), in windows of two by two cells too."
    ),
    ("s002-eigen-worst", "triangle"): (
        "a principal component has no sign of its own. Here it is turned to agree with the label's probability; published code "
        "takes it as the decomposition returns it. Turned the other way, the same maps explain a Dice of {turned_dice} at a ratio "
        "of {turned_ratio}: then it is the worst or among the worst, as in the paper. As it is turned here it keeps more of the "
        "canvas than any other, and with it the items."
    ),
    ("s002-ablation-best", "triangle"): (
        "Seg-Eigen-CAM explains more, because of how its sign is chosen (see there); with the other sign its Dice is "
        "{turned_dice}, and Seg-Ablation-CAM leads."
    ),
    ("s002-rise-masks-dice", "triangle"): (
        "Dice is near its ceiling whatever the number of masks, as in the other paper's table for Triangle; what is left to see "
        "is noise of a few images."
    ),
}
